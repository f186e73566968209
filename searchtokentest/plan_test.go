package searchtokentest

import "testing"

func TestPlanReturnsTheQueryUnchanged(t *testing.T) {
	p := New(Config{})
	const target = "/rest/search/v2/plan"
	const want = `{"parsedInput":{"basicExpression":"al","largeExpression":""},"preprocessingOutput":{"triggers":[]}}`
	testCalls(t, p, p.IssueToken(user(alice)), []callTest{
		{"query", "POST", target, `{"q":"al"}`, 200, want},
		{"not JSON", "POST", target, `{`, 400, "JSON"},
	})
}
