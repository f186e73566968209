package searchtokentest

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	streamingPath = "/rest/organizations/acme/machinelearning/streaming/"
	generatePath  = "/rest/organizations/acme/answer/v1/configs/1/generate"
	agentPath     = "/api/preview/organizations/acme/agents/1/"
)

// nextEvent reads one server-sent event of one line.
func nextEvent(t *testing.T, r *bufio.Reader) (event map[string]any, err error) {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	data, ok := strings.CutPrefix(line, "data: ")
	if end, err := r.ReadString('\n'); !ok || end != "\n" || err != nil {
		t.Fatalf("got %q, %q and error %v, want data and an empty line", line, end, err)
	}
	decode(t, []byte(data), &event)
	return event, nil
}

// genqa returns the payload type and the payload of each event in a stream.
func genqa(t *testing.T, stream []byte) []string {
	t.Helper()
	var list []string
	for r := bufio.NewReader(strings.NewReader(string(stream))); ; {
		event, err := nextEvent(t, r)
		if err != nil {
			return list
		}
		text := event["payloadType"].(string) + " " + event["payload"].(string)
		if reason, ok := event["finishReason"]; ok {
			text += " " + reason.(string)
		}
		list = append(list, text)
	}
}

func TestQueryAnnouncesItsAnswer(t *testing.T) {
	for _, tc := range []struct {
		name, text, query string
		want              bool
	}{
		{"answers", "Yes.", `{"q":"page"}`, true},
		{"no answers", "", `{"q":"page"}`, false},
		{"blank answer", " ", `{"q":"page"}`, false},
		{"empty query", "Yes.", `{"q":""}`, false},
		{"recommendations", "Yes.", `{"q":"page","recommendation":"1"}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{})
			p.GenerateAnswers(tc.text, 0)
			_, response := search(t, p, p.IssueToken(user(alice)), tc.query)
			if id := response.ExtendedResults.AnswerID; (id != "") != tc.want {
				t.Errorf("got ID %q, want one: %v", id, tc.want)
			}
		})
	}
}

func TestAnswerCitesWhatTheTokenMaySee(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	p.GenerateAnswers("Yes, they do.", 0)
	_, response := search(t, p, p.IssueToken(user(alice)), `{"q":"only","searchHub":"support"}`)
	id := response.ExtendedResults.AnswerID
	for name, want := range map[string]string{alice: "Alice only", bob: "Bob only", "anonymous": ""} {
		t.Run(name, func(t *testing.T) {
			token := p.IssueToken(user(name))
			resp, stream := sendAs(t, p, token, "GET", streamingPath+id, "")
			if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/event-stream" {
				t.Fatalf("got status %d and content type %q, want 200 and text/event-stream", resp.StatusCode, got)
			}
			resp, generated := sendAs(t, p, token, "POST", generatePath, `{"q":"only"}`)
			if resp.StatusCode != 200 || resp.Header.Get("X-Answer-Id") == "" {
				t.Errorf("got status %d and headers %v, want 200 and X-Answer-Id", resp.StatusCode, resp.Header)
			}
			events := genqa(t, stream)
			if diff := cmp.Diff(events, genqa(t, generated)); diff != "" {
				t.Errorf("the Answer API streams other events (-stream +generate):\n%s", diff)
			}
			const citations = 4 // their place among the events
			if len(events) != citations+2 {
				t.Fatalf("got events %q, want %d", events, citations+2)
			}
			var payload struct{ Citations []citation }
			decode(t, []byte(strings.TrimPrefix(events[citations], "genqa.citationsType ")), &payload)
			var titles []string
			for _, c := range payload.Citations {
				titles = append(titles, c.Title)
				if c.ID == "" || c.URI == "" || c.PermanentID == "" || c.Source == "" {
					t.Errorf("got citation %+v, want id, uri, permanentid and source", c)
				}
			}
			if got := strings.Join(titles, ","); got != want {
				t.Errorf("got citations of %q, want %q", got, want)
			}
			events[citations] = ""
			if diff := cmp.Diff([]string{
				`genqa.headerMessageType {"contentFormat":"text/markdown"}`,
				`genqa.messageType {"textDelta":"Yes, "}`,
				`genqa.messageType {"textDelta":"they "}`,
				`genqa.messageType {"textDelta":"do."}`,
				"",
				`genqa.endOfStreamType {"answerGenerated":true} COMPLETED`,
			}, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswerCitesThreeDocumentsAtMost(t *testing.T) {
	p := New(Config{Documents: make([]Document, 5)})
	p.GenerateAnswers("Yes.", 0)
	_, stream := sendAs(t, p, p.IssueToken(user(alice)), "POST", generatePath, `{"q":""}`)
	if got := strings.Count(string(stream), `\"permanentid\"`); got != maxCitations {
		t.Errorf("got %d citations, want %d", got, maxCitations)
	}
}

func TestStreamWithoutAnAnswer(t *testing.T) {
	p := New(Config{})
	token := p.IssueToken(user(alice))
	_, stream := sendAs(t, p, token, "POST", generatePath, `{"q":"page"}`)
	want := []string{`genqa.endOfStreamType {"answerGenerated":false} COMPLETED`}
	if diff := cmp.Diff(want, genqa(t, stream)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestAnswersNeedATokenAndAQuestion(t *testing.T) {
	p := New(Config{})
	p.GenerateAnswers("Yes.", 0)
	valid, rejected := p.IssueToken(user(alice)), p.IssueToken(user(alice))
	p.Reject(rejected)
	restricted := user(alice)
	restricted.Filter = "("
	unsupported := p.IssueToken(restricted)
	id := p.answers.streamID(question{Q: "page"})
	for _, tc := range []struct {
		name, method, target, body string
	}{
		{"stream", "GET", streamingPath + id, ""},
		{"generate", "POST", generatePath, `{"q":"page"}`},
		{"agent", "POST", agentPath + "answer", `{"q":"page"}`},
		{"agent again", "POST", agentPath + "follow-up", `{"q":"page"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testCalls(t, p, valid, []callTest{
				{"valid", tc.method, tc.target, tc.body, 200, "data: "},
				{"another organization", tc.method, strings.Replace(tc.target, "acme", "globex", 1), tc.body, 404, "Organization"},
			})
			testCalls(t, p, rejected, []callTest{{"rejected", tc.method, tc.target, tc.body, 419, "ExpiredToken"}})
			testCalls(t, p, "", []callTest{{"no token", tc.method, tc.target, tc.body, 401, "InvalidToken"}})
			testCalls(t, p, unsupported, []callTest{{"unsupported filter", tc.method, tc.target, tc.body, 400, "cannot parse"}})
		})
	}
	testCalls(t, p, valid, []callTest{
		{"unknown stream", "GET", streamingPath + "1", "", 404, "The stream does not exist."},
		{"stream that is not JSON", "GET", streamingPath + "aaaa", "", 404, "The stream does not exist."},
		{"generate without a question", "POST", generatePath, "", 400, "Invalid JSON"},
		{"agent without a question", "POST", agentPath + "answer", "", 400, "Invalid JSON"},
	})
	if got, want := p.Count(KindAnswer), p.Count(); got != want {
		t.Errorf("got %d requests of kind answer, want all %d", got, want)
	}
}

func TestEvaluationHasAnEmptyResponse(t *testing.T) {
	p := New(Config{})
	resp, b := sendAs(t, p, p.IssueToken(user(alice)), "POST",
		"/rest/organizations/acme/answer/v1/configs/1/evaluations", `{"helpful":true}`)
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || len(b) != 0 || got != "application/json" {
		t.Errorf("got status %d, content type %q and %q, want 200, application/json and nothing", resp.StatusCode, got, b)
	}
}

func TestAgentAnswersInAGUI(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	token := p.IssueToken(user(bob))
	for _, tc := range []struct {
		name, text, operation, body string
		want                        []string // the type of each event, with what front ends read of it
		thread                      string   // "": a random one
	}{
		{
			"answer", "Yes, they do.", "answer", `{"q":"only"}`,
			[]string{
				"RUN_STARTED", "CUSTOM header", "STEP_STARTED answering", "TEXT_MESSAGE_START",
				"TEXT_MESSAGE_CONTENT Yes, ", "TEXT_MESSAGE_CONTENT they ", "TEXT_MESSAGE_CONTENT do.", "TEXT_MESSAGE_END",
				"CUSTOM citations Bob only", "STEP_FINISHED answering", "RUN_FINISHED ANSWERED",
			}, "",
		},
		{
			"follow-up", "Yes.", "follow-up", `{"q":"nowhere","conversationId":"7"}`,
			[]string{
				"RUN_STARTED", "CUSTOM header", "STEP_STARTED answering", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT Yes.",
				"TEXT_MESSAGE_END", "CUSTOM citations", "STEP_FINISHED answering", "RUN_FINISHED ANSWERED",
			}, "7",
		},
		{
			"no answer", "", "answer", `{"q":"only"}`,
			[]string{
				"RUN_STARTED", "CUSTOM header", "STEP_STARTED answering", "STEP_FINISHED answering", "RUN_FINISHED NO_ANSWER",
			}, "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.GenerateAnswers(tc.text, 0)
			_, stream := sendAs(t, p, token, "POST", agentPath+tc.operation, tc.body)
			var got []string
			for r := bufio.NewReader(strings.NewReader(string(stream))); ; {
				event, err := nextEvent(t, r)
				if err != nil {
					break
				}
				if id, ok := event["threadId"]; ok && tc.thread != "" && id != tc.thread {
					t.Errorf("got thread %q, want %q", id, tc.thread)
				}
				got = append(got, summary(t, event))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// summary returns what front ends read of an event of an agent.
func summary(t *testing.T, event map[string]any) string {
	t.Helper()
	text := event["type"].(string)
	for _, name := range []string{"name", "stepName", "delta"} {
		if value, ok := event[name]; ok {
			text += " " + value.(string)
		}
	}
	b, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	var details struct {
		Value  struct{ Citations []citation }
		Result struct{ CompletionReason string }
	}
	decode(t, b, &details)
	for _, c := range details.Value.Citations {
		text += " " + c.Title
	}
	if reason := details.Result.CompletionReason; reason != "" {
		text += " " + reason
	}
	return text
}

func TestStreamPausesBetweenEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		p.GenerateAnswers("one two", time.Minute)
		r, err := http.NewRequestWithContext(t.Context(), "POST", endpoint+generatePath, strings.NewReader(`{"q":"page"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+p.IssueToken(user(alice)))
		start := time.Now()
		resp, err := p.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		stream := bufio.NewReader(resp.Body)
		var got []time.Duration
		for {
			if _, err := nextEvent(t, stream); err != nil {
				break
			}
			got = append(got, time.Since(start))
		}
		want := []time.Duration{0, time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("times of the events (-want +got):\n%s", diff)
		}
	})
}

// The second event never comes, so the first one arrives only if it is flushed.
func TestStreamSendsEachEventAtOnce(t *testing.T) {
	testBothWays(t, func(t *testing.T, p *Platform, url string, client *http.Client) {
		p.GenerateAnswers("one two", 1<<62)
		client.Timeout = 10 * time.Second // ends a test that would hang
		r, err := http.NewRequestWithContext(t.Context(), "POST", url+generatePath, strings.NewReader(`{"q":"page"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+p.IssueToken(user(alice)))
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		event, err := nextEvent(t, bufio.NewReader(resp.Body))
		if got := event["payloadType"]; err != nil || got != "genqa.headerMessageType" {
			t.Errorf("got event %v and error %v, want genqa.headerMessageType", got, err)
		}
		resp.Body.Close()
	})
}

func TestStreamIsAbortedWhenTheClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		p.GenerateAnswers("one two", time.Minute)
		client := &http.Client{Transport: p, Timeout: 90 * time.Second}
		resp, err := client.Get(endpoint + streamingPath + p.answers.streamID(question{Q: "page"}) +
			query("access_token", p.IssueToken(user(alice))))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if timeout := (interface{ Timeout() bool })(nil); !errors.As(err, &timeout) || len(genqa(t, b)) != 2 {
			t.Errorf("got %q and error %v, want two events and a timeout", b, err)
		}
		synctest.Wait()
		if got := p.Requests()[0].Left; !got.Equal(time.Now()) {
			t.Errorf("the client left at %v on record, want %v", got, time.Now())
		}
	})
}
