package searchtokentest

import (
	"cmp"
	"encoding/json"
	"net/http"
)

// agentEvent is an event of an agent, in the AG-UI protocol.
type agentEvent struct {
	Type      string `json:"type"`
	ThreadID  string `json:"threadId,omitempty"`
	RunID     string `json:"runId,omitempty"`
	MessageID string `json:"messageId,omitempty"`
	Role      string `json:"role,omitempty"`
	Delta     string `json:"delta,omitempty"`
	StepName  string `json:"stepName,omitempty"`
	Name      string `json:"name,omitempty"`
	Value     any    `json:"value,omitempty"`
	Result    any    `json:"result,omitempty"`
}

// serveAgent serves the answer of an agent to a first question, and to one that
// follows up: /api/preview/organizations/{organization}/agents/{id}/answer and
// follow-up.
func (a *answerAPI) serveAgent(w http.ResponseWriter, c *call, claims *Claims) {
	var q question
	if json.Unmarshal(c.body, &q) != nil {
		writeError(w, http.StatusBadRequest, "Invalid JSON format in request body.")
		return
	}
	answer := a.answers.get()
	citations, err := a.cite(claims, q)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	thread, run, message := cmp.Or(q.ConversationID, newID()), newID(), newID()
	events := []any{
		agentEvent{Type: "RUN_STARTED", ThreadID: thread, RunID: run},
		agentEvent{Type: "CUSTOM", Name: "header", Value: map[string]any{
			"contentFormat": "text/markdown", "followUpEnabled": true, "conversationToken": newID(),
		}},
		agentEvent{Type: "STEP_STARTED", StepName: "answering"},
	}
	reason := "NO_ANSWER"
	if answer.generated {
		reason = "ANSWERED"
		events = append(events, agentEvent{Type: "TEXT_MESSAGE_START", MessageID: message, Role: "assistant"})
		for _, word := range answer.words {
			events = append(events, agentEvent{Type: "TEXT_MESSAGE_CONTENT", MessageID: message, Delta: word})
		}
		events = append(events,
			agentEvent{Type: "TEXT_MESSAGE_END", MessageID: message},
			agentEvent{Type: "CUSTOM", Name: "citations", Value: map[string]any{"citations": citations}})
	}
	events = append(events,
		agentEvent{Type: "STEP_FINISHED", StepName: "answering"},
		agentEvent{
			Type: "RUN_FINISHED", ThreadID: thread, RunID: run, Result: map[string]string{"completionReason": reason},
		})
	writeEvents(w, c.Request, answer.pause, events)
}
