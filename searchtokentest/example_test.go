package searchtokentest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/searchtoken/searchtoken/searchtokentest"
)

// A web server requests a token for its visitor, and the visitor's page
// searches with it.
func ExampleNewServer() {
	coveo := searchtokentest.NewServer(searchtokentest.Config{})
	defer coveo.Close()

	post := func(path, credential, body string, response any) {
		r, err := http.NewRequest(http.MethodPost, coveo.URL+path, strings.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+credential)
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(response); err != nil {
			log.Fatal(err)
		}
	}

	var issued struct{ Token string }
	post("/rest/search/v2/token", searchtokentest.DefaultAPIKey,
		`{"userIds": [{"name": "alice@example.com", "provider": "Email Security Provider"}]}`, &issued)

	var response struct {
		Results []struct{ Title, ClickURI string }
	}
	post("/rest/search/v2", issued.Token, `{"q": "review"}`, &response)
	for _, r := range response.Results {
		fmt.Println(r.Title, r.ClickURI)
	}
	fmt.Println(coveo.Count(searchtokentest.KindToken), "token call")
	// Output:
	// Alice's performance review https://reports.example.com/reviews/alice
	// 1 token call
}

// The platform is the transport of a client, without a socket.
func ExamplePlatform_RoundTrip() {
	coveo := searchtokentest.New(searchtokentest.Config{
		Documents: []searchtokentest.Document{{Title: "Hello", URI: "https://example.com/hello"}},
	})
	client := &http.Client{Transport: coveo}

	token := coveo.IssueToken(searchtokentest.Claims{UserIDs: []searchtokentest.UserID{
		{Name: "anonymous", Provider: searchtokentest.EmailSecurityProvider},
	}})
	resp, err := client.Get("https://acme.org.coveo.com/rest/search/v2?access_token=" + token)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	var response struct{ TotalCount int }
	if err := json.NewDecoder(resp.Body).Decode(&response); err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.TotalCount)
	// Output: 1
}

// The platform responds with 429 once, and asks the client to wait.
func ExamplePlatform_Inject() {
	coveo := searchtokentest.New(searchtokentest.Config{})
	coveo.Inject(searchtokentest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "30", Times: 1})
	client := &http.Client{Transport: coveo}

	for range 2 {
		resp, err := client.Get("https://acme.org.coveo.com/rest/search/v2")
		if err != nil {
			log.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		fmt.Printf("%d %q\n", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	// Output:
	// 429 "30"
	// 401 ""
}

// A rejected token gets status 419, as one that expires while a page is open.
func ExamplePlatform_RejectAll() {
	coveo := searchtokentest.New(searchtokentest.Config{})
	client := &http.Client{Transport: coveo}
	alice := searchtokentest.Claims{UserIDs: []searchtokentest.UserID{
		{Name: "alice@example.com", Provider: searchtokentest.EmailSecurityProvider},
	}}
	first := coveo.IssueToken(alice)
	coveo.RejectAll()
	for _, token := range []string{first, coveo.IssueToken(alice)} {
		resp, err := client.Get("https://acme.org.coveo.com/rest/search/v2?access_token=" + token)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
	// Output:
	// 419
	// 200
}

// The answer to a question arrives word by word.
func ExamplePlatform_GenerateAnswers() {
	coveo := searchtokentest.New(searchtokentest.Config{})
	coveo.GenerateAnswers("In three steps.", time.Millisecond)
	token := coveo.IssueToken(searchtokentest.Claims{UserIDs: []searchtokentest.UserID{
		{Name: "alice@example.com", Provider: searchtokentest.EmailSecurityProvider},
	}})
	url := "https://acme.org.coveo.com/rest/organizations/acme/answer/v1/configs/1/generate"
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"q": "How do I reset my password?"}`))
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: coveo}).Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Header.Get("Content-Type"))
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event struct{ Payload string }
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Payload)
	}
	// Output:
	// text/event-stream
	// {"contentFormat":"text/markdown"}
	// {"textDelta":"In "}
	// {"textDelta":"three "}
	// {"textDelta":"steps."}
	// {"citations":[]}
	// {"answerGenerated":true}
}

// Queries of one user hang until the client gives up.
func ExampleFault() {
	coveo := searchtokentest.New(searchtokentest.Config{})
	coveo.Inject(searchtokentest.Fault{
		Kind:    searchtokentest.KindSearch,
		Match:   func(r searchtokentest.Request) bool { return r.User() == "bob@example.com" },
		Handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	})
	client := &http.Client{Transport: coveo, Timeout: time.Second}
	for _, name := range []string{"alice@example.com", "bob@example.com"} {
		token := coveo.IssueToken(searchtokentest.Claims{UserIDs: []searchtokentest.UserID{
			{Name: name, Provider: searchtokentest.EmailSecurityProvider},
		}})
		resp, err := client.Get("https://acme.org.coveo.com/rest/search/v2?access_token=" + token)
		if err != nil {
			fmt.Println(name, "gets no response")
			continue
		}
		resp.Body.Close()
		fmt.Println(name, "gets", resp.Status)
	}
	// Output:
	// alice@example.com gets 200 OK
	// bob@example.com gets no response
}
