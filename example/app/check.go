package app

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
)

// checkCoveo asks Coveo whether the configuration is right. It returns an error
// if Coveo refuses it: then a deployment should stop, as long as older
// instances still work. Other errors are only logged, because Coveo may be down
// for a moment.
func checkCoveo(ctx context.Context, s *site.Site, logger *slog.Logger) error {
	err := s.Check(ctx)
	switch {
	case err == nil, ctx.Err() != nil: // in order, or interrupted
		return nil
	case searchtoken.HTTPStatus(err) == http.StatusBadGateway:
		return err
	}
	logger.ErrorContext(ctx, "the check of the configuration failed: the site starts nevertheless", "error", err)
	return nil
}
