package searchtokentest

import (
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWriteErrorHasTheFormatOfTheSearchAPI(t *testing.T) {
	for _, tc := range []struct {
		status        int
		errorType     string
		statusMessage string
	}{
		{400, "InvalidRequestException", "Bad Request"},
		{401, "InvalidTokenException", "Invalid access token."},
		{403, "AccessDeniedException", "Forbidden"},
		{404, "NotFoundException", "Not Found"},
		{413, "RequestException", "Request Entity Too Large"},
		{419, "ExpiredTokenException", "Expired token"},
		{429, "TooManyRequestsException", "Too Many Requests"},
		{500, "InternalServerErrorException", "Internal Server Error"},
		{503, "InternalServerErrorException", "Service Unavailable"},
		{599, "InternalServerErrorException", "The request failed."},
	} {
		t.Run(tc.errorType, func(t *testing.T) {
			rec := httptest.NewRecorder()
			writeError(rec, tc.status, errorMessage(tc.status))
			var got map[string]any
			decode(t, rec.Body.Bytes(), &got)
			want := map[string]any{"statusCode": float64(tc.status), "message": tc.statusMessage, "type": tc.errorType}
			if diff := cmp.Diff(want, got); diff != "" || rec.Code != tc.status {
				t.Errorf("got status %d, want %d; body (-want +got):\n%s", rec.Code, tc.status, diff)
			}
		})
	}
}

func TestNewIDIsARandomUUID(t *testing.T) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	a, b := newID(), newID()
	if !uuid.MatchString(a) || !uuid.MatchString(b) || a == b {
		t.Errorf("got %q and %q, want two random UUIDs", a, b)
	}
}
