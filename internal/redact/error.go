package redact

import (
	"errors"
	"net"
	"sync"
)

// Error returns an error whose message is that of err, redacted as [Text] does.
//
// No way leads from it to the message of err. errors.Is finds what it finds in
// err. errors.As finds the errors in visible and what they wrap, whose messages
// must be redacted already. If err is a timeout, the error is a timeout as
// well: a [net.Error]. The err must not be nil.
func Error(err error, visible []error, known ...string) error {
	raw := err.Error()
	redacted := &redactedError{
		text:    sync.OnceValue(func() string { return Text(raw, known...) }), // few errors are printed
		is:      func(target error) bool { return errors.Is(err, target) },
		visible: visible,
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return &timeoutError{redacted}
	}
	return redacted
}

// redactedError keeps err in closures, so that fmt cannot print it.
type redactedError struct {
	text    func() string
	is      func(target error) bool
	visible []error
}

func (e *redactedError) Error() string        { return e.text() }
func (e *redactedError) Is(target error) bool { return e.is(target) }
func (e *redactedError) Unwrap() []error      { return e.visible }

// timeoutError implements net.Error.
type timeoutError struct{ *redactedError }

func (*timeoutError) Timeout() bool   { return true }
func (*timeoutError) Temporary() bool { return true }
