package searchtokentest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxCitations is the number of documents that a generated answer cites.
const maxCitations = 3

// GenerateAnswers makes the platform answer every question with text, in place
// of a language model. It sends one word per event, with pause between events.
// An answer cites the first documents that the query finds. It applies to
// streams that begin later. An empty text, the default, generates no answers.
func (p *Platform) GenerateAnswers(text string, pause time.Duration) {
	text = strings.TrimSpace(text)
	p.answers.set(generatedAnswer{words: strings.SplitAfter(text, " "), pause: pause, generated: text != ""})
}

// generatedAnswer is what the platform says to every question.
type generatedAnswer struct {
	words     []string // with the spaces after them
	pause     time.Duration
	generated bool
}

// generator holds the answer to every question. It is safe for concurrent use;
// the zero generator has none.
type generator struct {
	mu     sync.Mutex // guards answer
	answer generatedAnswer
}

func (g *generator) set(a generatedAnswer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = a
}

func (g *generator) get() generatedAnswer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answer
}

// question is what an answer is generated for.
type question struct {
	Q              string `json:"q"`
	SearchHub      string `json:"searchHub"`
	ConversationID string `json:"conversationId,omitempty"` // of a question that follows up
}

// streamID returns the ID of the stream that answers a query, or "" if nothing
// will. It contains the question.
func (g *generator) streamID(q question) string {
	if q.Q == "" || !g.get().generated {
		return ""
	}
	b, _ := json.Marshal(q) // strings always encode
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseStreamID returns the question of a stream.
func parseStreamID(id string) (q question, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		return question{}, false
	}
	return q, json.Unmarshal(b, &q) == nil
}

// answerAPI serves generated answers and agents.
type answerAPI struct {
	search  *searchAPI
	answers *generator
}

// serveStream serves the answer to a query, which the query's response
// announces: /rest/organizations/{organization}/machinelearning/streaming/{id}.
func (a *answerAPI) serveStream(w http.ResponseWriter, c *call, claims *Claims) {
	q, ok := parseStreamID(c.PathValue("id"))
	if !ok {
		writeError(w, http.StatusNotFound, "The stream does not exist.")
		return
	}
	a.stream(w, c, claims, q)
}

// serveGenerate serves the Answer API:
// /rest/organizations/{organization}/answer/v1/configs/{id}/generate.
func (a *answerAPI) serveGenerate(w http.ResponseWriter, c *call, claims *Claims) {
	var q question
	if json.Unmarshal(c.body, &q) != nil {
		writeError(w, http.StatusBadRequest, "Invalid JSON format in request body.")
		return
	}
	w.Header().Set("X-Answer-Id", newID())
	a.stream(w, c, claims, q)
}

// serveEvaluation serves the visitor's opinion of an answer. Coveo's response
// is empty, in spite of its content type.
func (a *answerAPI) serveEvaluation(w http.ResponseWriter, _ *call, _ *Claims) {
	setDefaultContentType(w.Header(), "application/json")
	w.WriteHeader(http.StatusOK)
}

// genqaEvent is an event of a generated answer.
type genqaEvent struct {
	PayloadType  string `json:"payloadType"`
	Payload      string `json:"payload"` // JSON
	FinishReason string `json:"finishReason,omitempty"`
}

func (a *answerAPI) stream(w http.ResponseWriter, c *call, claims *Claims, q question) {
	answer := a.answers.get()
	citations, err := a.cite(claims, q)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	var events []any
	add := func(payloadType, finishReason string, payload any) {
		b, _ := json.Marshal(payload) // maps of strings and structs always encode
		events = append(events, genqaEvent{payloadType, string(b), finishReason})
	}
	if answer.generated {
		add("genqa.headerMessageType", "", map[string]string{"contentFormat": "text/markdown"})
		for _, word := range answer.words {
			add("genqa.messageType", "", map[string]string{"textDelta": word})
		}
		add("genqa.citationsType", "", map[string][]citation{"citations": citations})
	}
	add("genqa.endOfStreamType", "COMPLETED", map[string]bool{"answerGenerated": answer.generated})
	writeEvents(w, c.Request, answer.pause, events)
}

// citation is a document that an answer cites.
type citation struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	URI         string `json:"uri"`
	ClickURI    string `json:"clickUri"`
	PermanentID string `json:"permanentid"`
	Source      string `json:"source"`
	Text        string `json:"text"`
}

// cite returns the first documents that the holder of the token finds.
func (a *answerAPI) cite(claims *Claims, q question) ([]citation, error) {
	params := searchParams{Q: q.Q, SearchHub: q.SearchHub}
	params.enforce(claims)
	found, err := a.search.find(claims, params)
	if err != nil {
		return nil, err
	}
	citations := []citation{}
	for _, m := range found[:min(len(found), maxCitations)] {
		citations = append(citations, citation{
			ID: m.uniqueID, Title: m.Title, URI: m.URI, ClickURI: m.URI,
			PermanentID: m.fields["permanentid"], Source: m.Source, Text: m.Excerpt,
		})
	}
	return citations, nil
}
