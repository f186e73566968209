package searchtoken_test

// The tests in this file fail if a field is added to TokenParams, UserID,
// Config, Route or Page, and one of the places that must know it does not. They
// find the fields by reflection, and each message says what to do. They share
// their helpers, so they stand together instead of in the test file of each
// place.

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// coveoNames are the properties of Coveo's RestTokenParams and RestUserId
// (https://docs.coveo.com/en/56/#request-body-properties) by the names of our
// fields.
var coveoNames = map[string]string{
	"UserIDs":                    "userIds",
	"UserIDs[].Name":             "name",
	"UserIDs[].Provider":         "provider",
	"UserIDs[].Type":             "type",
	"UserDisplayName":            "userDisplayName",
	"UserGroups":                 "userGroups",
	"SearchHub":                  "searchHub",
	"Pipeline":                   "pipeline",
	"Filter":                     "filter",
	"ValidFor":                   "validFor",
	"DictionaryFieldContext":     "dictionaryFieldContext",
	"AllowedDictionaryFieldKeys": "allowedDictionaryFieldKeys",
	"CanSeeUserProfileOf":        "canSeeUserProfileOf",
	"Commerce":                   "commerce",
}

// validValues are the values of a leaf that Coveo accepts, if it does not
// accept any value of the leaf's type. A leaf with one value here must have no
// other.
var validValues = map[string][]any{
	"UserIDs[].Type":               {searchtoken.UserTypeGroup, searchtoken.UserTypeVirtualGroup},
	"ValidFor":                     {time.Hour, 2 * time.Hour},
	"AllowedDictionaryFieldKeys[]": {"*"},
}

// leaf is a string, a number or a bool somewhere in a struct. Values of other
// kinds, for example functions, are leaves that have no value to set.
type leaf struct {
	path  string // "UserIDs[].Name"; a map has "Map.key" and "Map.value"
	field string // of the struct: "UserIDs"
	typ   reflect.Type

	// change calls set with the leaf's addressable value in root, a pointer to
	// the struct. It makes the lists, maps and pointers on the way, with one
	// element each, unless they are there: then it changes them in place.
	change func(root any, set func(v reflect.Value))
}

// leavesOf returns the leaves of a struct.
func leavesOf(typ reflect.Type) (leaves []leaf) {
	for _, field := range reflect.VisibleFields(typ) {
		if field.Anonymous || !field.IsExported() {
			continue
		}
		within := func(root any, set func(reflect.Value)) {
			set(reflect.ValueOf(root).Elem().FieldByIndex(field.Index))
		}
		leaves = appendLeaves(leaves, leaf{field.Name, field.Name, field.Type, within})
	}
	return leaves
}

func appendLeaves(leaves []leaf, at leaf) []leaf {
	part := func(name string, typ reflect.Type, step func(v reflect.Value, set func(reflect.Value))) {
		leaves = appendLeaves(leaves, leaf{at.path + name, at.field, typ, func(root any, set func(reflect.Value)) {
			at.change(root, func(v reflect.Value) { step(v, set) })
		}})
	}
	switch typ := at.typ; {
	case typ.Kind() == reflect.Struct && typ.PkgPath() == reflect.TypeFor[searchtoken.Config]().PkgPath():
		for _, field := range reflect.VisibleFields(typ) {
			part("."+field.Name, field.Type, func(v reflect.Value, set func(reflect.Value)) {
				set(v.FieldByIndex(field.Index))
			})
		}
	case typ.Kind() == reflect.Pointer && typ.Elem().PkgPath() == reflect.TypeFor[searchtoken.Config]().PkgPath():
		part("", typ.Elem(), func(v reflect.Value, set func(reflect.Value)) {
			if v.IsNil() {
				v.Set(reflect.New(typ.Elem()))
			}
			set(v.Elem())
		})
	case typ.Kind() == reflect.Slice:
		part("[]", typ.Elem(), func(v reflect.Value, set func(reflect.Value)) {
			if v.Len() == 0 {
				v.Set(reflect.MakeSlice(typ, 1, 1))
			}
			set(v.Index(v.Len() - 1))
		})
	case typ.Kind() == reflect.Map:
		entry := func(v reflect.Value) (key, value reflect.Value) {
			if v.IsNil() {
				v.Set(reflect.MakeMap(typ))
			}
			key, value = reflect.New(typ.Key()).Elem(), reflect.New(typ.Elem()).Elem()
			for _, k := range v.MapKeys() {
				key.Set(k)
				value.Set(v.MapIndex(k))
			}
			return key, value
		}
		part(".key", typ.Key(), func(v reflect.Value, set func(reflect.Value)) {
			key, value := entry(v)
			v.SetMapIndex(key, reflect.Value{})
			set(key)
			v.SetMapIndex(key, value)
		})
		part("", typ.Elem(), func(v reflect.Value, set func(reflect.Value)) {
			key, value := entry(v)
			set(value)
			v.SetMapIndex(key, value)
		})
	default:
		leaves = append(leaves, at)
	}
	return leaves
}

// put sets the leaf to its n-th value, counted from 1. It returns false if the
// leaf has fewer values.
func (l leaf) put(t *testing.T, root any, n int) bool {
	t.Helper()
	var value any
	if values, ok := validValues[l.path]; ok {
		if n > len(values) {
			return false
		}
		value = values[n-1]
	} else {
		switch l.typ.Kind() {
		case reflect.String:
			value = fmt.Sprint("value", n)
		case reflect.Int, reflect.Int64:
			value = n
		case reflect.Bool:
			if n > 2 {
				return false
			}
			value = n == 1
		default:
			t.Fatalf("%s is a %v: teach leaf.put to make values of this type", l.path, l.typ)
		}
	}
	l.change(root, func(v reflect.Value) { v.Set(reflect.ValueOf(value).Convert(l.typ)) })
	return true
}

// paramLeaves are the leaves of TokenParams by their fields.
func paramLeaves() map[string][]leaf {
	fields := map[string][]leaf{}
	for _, l := range leavesOf(reflect.TypeFor[searchtoken.TokenParams]()) {
		fields[l.field] = append(fields[l.field], l)
	}
	return fields
}

// paramsWith returns valid parameters in which the leaves, those of one field,
// have their first values. Some fields exclude each other, so the others are
// empty.
func paramsWith(t *testing.T, leaves []leaf) searchtoken.TokenParams {
	t.Helper()
	var p searchtoken.TokenParams
	for _, l := range leaves {
		l.put(t, &p, 1)
	}
	if p.UserIDs == nil {
		p.UserIDs = searchtoken.Email("ann").UserIDs
	}
	if err := p.Validate(); err != nil {
		t.Fatalf("%v: give validValues values that Coveo accepts", err)
	}
	return p
}

// eachParam runs test for every field of TokenParams.
func eachParam(t *testing.T, test func(t *testing.T, field string, leaves []leaf)) {
	fields := paramLeaves()
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		t.Run(field, func(t *testing.T) { test(t, field, fields[field]) })
	}
}

// keySeen returns the Key that a Cache gets for p. Identify always returns the
// same user, and Prepare sets p, even its UserIDs.
func keySeen(t *testing.T, p searchtoken.TokenParams) (key searchtoken.Key) {
	t.Helper()
	m := newMiddleware(t, searchtoken.Config{
		Identify: func(*http.Request) (searchtoken.Identity, error) { return searchtoken.Email("ann"), nil },
		Cache: &cache{get: func(_ context.Context, k searchtoken.Key) (searchtoken.Token, uint64, error) {
			key = k
			return searchtoken.Token{Value: "t", Issued: time.Now(), Expiry: time.Now().Add(time.Hour)}, 0, nil
		}},
		Route: searchtoken.Route{Prepare: func(_ *http.Request, params *searchtoken.TokenParams) error {
			*params = p
			return nil
		}},
	})
	if w := get(m, request("")); w.Code != http.StatusOK {
		t.Fatalf("status %d for %+v", w.Code, p)
	}
	return key
}

func TestEveryParameterChangesTheKey(t *testing.T) {
	none := keySeen(t, searchtoken.TokenParams{UserIDs: searchtoken.Email("ann").UserIDs})
	eachParam(t, func(t *testing.T, field string, leaves []leaf) {
		first := keySeen(t, paramsWith(t, leaves))
		if first == none {
			t.Errorf("a Key does not depend on TokenParams.%s: add it to paramsHash, or two grants share tokens", field)
		}
		for _, l := range leaves {
			p := paramsWith(t, leaves)
			if !l.put(t, &p, 2) {
				l.change(&p, func(v reflect.Value) { v.SetString("another value") })
				if p.Validate() == nil {
					t.Errorf("%s has a second valid value: add it to validValues", l.path)
				}
				continue
			}
			if keySeen(t, p) == first {
				t.Errorf("a Key does not depend on TokenParams.%s: add it to paramsHash, or two grants share tokens",
					l.path)
			}
		}
	})
}

func TestEveryPartOfAnIdentityChangesTheUserKey(t *testing.T) {
	userKey := func(id searchtoken.UserID) (user searchtoken.UserKey) {
		m := newMiddleware(t, searchtoken.Config{
			Cache: &cache{forget: func(_ context.Context, u searchtoken.UserKey) error {
				user = u
				return nil
			}},
		})
		if err := m.Forget(t.Context(), searchtoken.Identity{UserIDs: []searchtoken.UserID{id}}); err != nil {
			t.Fatal(err)
		}
		return user
	}
	ann := searchtoken.Email("ann").UserIDs[0]
	for _, l := range paramLeaves()["UserIDs"] {
		p := searchtoken.TokenParams{UserIDs: []searchtoken.UserID{ann}}
		l.put(t, &p, 1)
		if userKey(p.UserIDs[0]) == userKey(ann) {
			t.Errorf("a UserKey does not depend on %s: add it to appendUserIDs, or two users share tokens", l.path)
		}
		// Prepare changes this part alone.
		if keySeen(t, p) == keySeen(t, searchtoken.TokenParams{UserIDs: []searchtoken.UserID{ann}}) {
			t.Errorf("a Key does not depend on %s from Prepare: add it to sameUserID, or two users share tokens",
				l.path)
		}
	}
}

func TestEveryParameterIsSentUnderCoveosName(t *testing.T) {
	eachParam(t, func(t *testing.T, field string, leaves []leaf) {
		p := paramsWith(t, leaves)
		got := propertiesOf(t, p)
		want := map[string]any{"userIds": got["userIds"]}
		want[coveoName(t, field)] = sentValue(t, &p, field)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("TokenParams.MarshalJSON: check the json tag of %s (-want +got):\n%s", field, diff)
		}
		if field != "UserIDs" {
			return
		}
		wantID := map[string]any{}
		for _, l := range leaves {
			l.change(&p, func(v reflect.Value) { wantID[coveoName(t, l.path)] = v.String() })
		}
		if diff := cmp.Diff([]any{wantID}, got["userIds"]); diff != "" {
			t.Errorf("UserID: check the json tags (-want +got):\n%s", diff)
		}
	})
}

// propertiesOf returns v as a JSON object.
func propertiesOf(t *testing.T, v any) (properties map[string]any) {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &properties); err != nil {
		t.Fatal(err)
	}
	return properties
}

func coveoName(t *testing.T, path string) string {
	t.Helper()
	name, ok := coveoNames[path]
	if !ok {
		t.Fatalf("coveoNames has no %s: add the property's name from Coveo's documentation", path)
	}
	return name
}

// sentValue returns a field's value as JSON has it.
func sentValue(t *testing.T, p *searchtoken.TokenParams, field string) any {
	t.Helper()
	value := reflect.ValueOf(p).Elem().FieldByName(field).Interface()
	if d, ok := value.(time.Duration); ok {
		value = d.Milliseconds()
	}
	return propertiesOf(t, map[string]any{"value": value})["value"]
}

// TestPrepareGetsItsOwnCopyOfEveryParameter overwrites what Prepare, With and
// the caller of New hold, and looks for it in the next request.
func TestPrepareGetsItsOwnCopyOfEveryParameter(t *testing.T) {
	eachParam(t, func(t *testing.T, field string, leaves []leaf) {
		spoil := func(p *searchtoken.TokenParams) {
			for _, l := range leaves {
				l.change(p, func(v reflect.Value) {
					if l.typ.Kind() == reflect.String {
						v.SetString("spoiled")
					}
				})
			}
		}
		fresh, given := paramsWith(t, leaves), paramsWith(t, leaves)
		id := searchtoken.Identity{UserIDs: given.UserIDs}
		given.UserIDs = nil
		prepared := 0
		m := newMiddleware(t, searchtoken.Config{
			Identify: func(*http.Request) (searchtoken.Identity, error) { return id, nil },
			Route: searchtoken.Route{Params: given, Prepare: func(_ *http.Request, p *searchtoken.TokenParams) error {
				prepared++
				if diff := cmp.Diff(fresh, *p); diff != "" {
					t.Errorf("TokenParams.clone: copy %s, because request %d got what another wrote (-want +got):\n%s",
						field, prepared, diff)
				}
				spoil(p)
				*p = fresh
				return nil
			}},
		})
		if field != "UserIDs" {
			spoil(&given)
			_, err := m.With(func(r *searchtoken.Route) {
				spoil(&r.Params)
				r.Params = searchtoken.TokenParams{}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			get(m, request(""))
		}
		if prepared != 2 {
			t.Errorf("Prepare ran %d times, want 2", prepared)
		}
	})
}

func TestInvalidUTF8IsRefusedInEveryParameter(t *testing.T) {
	eachParam(t, func(t *testing.T, field string, leaves []leaf) {
		for _, l := range leaves {
			if l.typ.Kind() != reflect.String {
				continue
			}
			p := paramsWith(t, leaves)
			l.change(&p, func(v reflect.Value) { v.SetString("a\xff") })
			if err := p.Validate(); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("Validate() = %v for invalid UTF-8 in %s: add it to TokenParams.validateGrant, "+
					"or encoding/json changes the grant", err, l.path)
			}
		}
	})
}

func TestInvalidUTF8IsRefusedInEveryOption(t *testing.T) {
	unchecked := map[string]string{
		"Name":     "it goes to Observe and to the Logger only",
		"RenewURL": "a browser that renews gets a 404, as for every other wrong path",
		"ProxyURL": "the calls of the front ends get a 404, as for every other wrong path",
	}
	for _, l := range leavesOf(reflect.TypeFor[searchtoken.Config]()) {
		if l.typ.Kind() != reflect.String || l.field == "Params" {
			continue
		}
		cfg := searchtoken.Config{OrganizationID: "acme", APIKey: apiKey, Identify: byHeader}
		l.change(&cfg, func(v reflect.Value) { v.SetString("/a\xff") })
		_, err := searchtoken.New(cfg)
		if _, ok := unchecked[l.path]; ok && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), l.field) {
			t.Errorf("New: %v for invalid UTF-8 in %s: check it in Config.validate or Route.validate, "+
				"or say in unchecked why not", err, l.path)
		}
	}
}

func TestStandInKnowsEveryParameter(t *testing.T) {
	noClaim := map[string]string{
		"ValidFor":                   "it decides on exp",
		"DictionaryFieldContext":     "the stand-in checks it, and has no dictionary fields",
		"AllowedDictionaryFieldKeys": "the stand-in checks it, and has no dictionary fields",
		"CanSeeUserProfileOf":        "the stand-in checks its type, and has no profiles",
		"Commerce":                   "the stand-in checks its type, and has no catalogs",
	}
	eachParam(t, func(t *testing.T, field string, leaves []leaf) {
		platform := searchtokentest.New(searchtokentest.Config{})
		client, err := searchtoken.NewClient(searchtoken.ClientConfig{
			OrganizationID: searchtokentest.DefaultOrganizationID, APIKey: searchtokentest.DefaultAPIKey,
			HTTPClient: &http.Client{Transport: platform},
		})
		if err != nil {
			t.Fatal(err)
		}
		p := paramsWith(t, leaves)
		got, err := client.Issue(t.Context(), p)
		if err != nil {
			t.Fatalf("Issue() = %v: add the property to tokenRequest and tokenProperties in searchtokentest/token.go",
				err)
		}
		if life := got.Expiry.Sub(got.Issued); p.ValidFor != 0 && life != p.ValidFor {
			t.Errorf("the token lives %v, want %v", life, p.ValidFor)
		}
		if _, ok := noClaim[field]; ok {
			return
		}
		claims := propertiesOf(t, platform.Requests(searchtokentest.KindToken)[0].Claims)
		if diff := cmp.Diff(sentValue(t, &p, field), claims[coveoName(t, field)]); diff != "" {
			t.Errorf("claim %q: add it to searchtokentest.Claims, or say in noClaim why not (-want +got):\n%s",
				coveoName(t, field), diff)
		}
	})
}

func TestHandlerSetsEveryFieldOfThePage(t *testing.T) {
	platform := searchtokentest.New(searchtokentest.Config{})
	m := newMiddleware(t, searchtoken.Config{
		APIKey: apiKey, PlatformURL: "https://platform.example", AnalyticsURL: "https://analytics.example",
		HTTPClient: &http.Client{Transport: platform}, // which refuses this key
		Route: searchtoken.Route{
			Params: searchtoken.TokenParams{SearchHub: "hub"}, RenewURL: "/coveo/token", ProxyURL: "/coveo", Optional: true,
			Nonce: func(*http.Request) string { return "nonce" },
		},
	})
	withToken := newMiddleware(t, searchtoken.Config{})
	var set []string
	for _, m := range []*searchtoken.Middleware{m, withToken} {
		got, _ := pageOf(m, request("ann"))
		page := reflect.ValueOf(got)
		for i := range page.NumField() {
			if !page.Field(i).IsZero() {
				set = append(set, page.Type().Field(i).Name)
			}
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[searchtoken.Page]()) {
		if !slices.Contains(set, field.Name) {
			t.Errorf("Handler leaves Page.%s zero: set it in New or Middleware.fill, "+
				"and give this test the option that it comes from", field.Name)
		}
	}
}

func TestFuzzedParamsHaveEveryParameter(t *testing.T) {
	var shape []byte
	for b := 0x10; b <= 0xff; b++ { // every field, with pieces of at least one byte
		shape = append(shape, byte(b))
	}
	p := paramsOf(strings.Repeat("a", 2000), shape)
	for _, l := range leavesOf(reflect.TypeFor[searchtoken.TokenParams]()) {
		l.change(&p, func(v reflect.Value) {
			if v.IsZero() {
				t.Errorf("paramsOf never sets TokenParams.%s: add a case, so that FuzzKeys covers it", l.path)
			}
		})
	}
}

func TestREADMENamesEveryOption(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[searchtoken.Config](), reflect.TypeFor[searchtoken.Route]()} {
		for _, field := range reflect.VisibleFields(typ) {
			if !strings.Contains(string(readme), "`"+field.Name+"`") {
				t.Errorf("README.md does not name `%s`: document %s.%[1]s", field.Name, typ.Name())
			}
		}
	}
}

func TestEveryExportedNameHasADocComment(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == "e2e" || path == "example" ||
			strings.HasPrefix(entry.Name(), ".") && path != "."):
			return filepath.SkipDir // programs
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, name := range undocumented(file, file.Name.Name == "searchtoken") {
			t.Errorf("%s: %s has no doc comment", path, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// undocumented returns the exported names of a file that have no comment:
// types, functions, methods, and variables and constants whose group has none.
// It looks at the fields of structs and at the methods of interfaces if members
// is true.
func undocumented(file *ast.File, members bool) (names []string) {
	check := func(id *ast.Ident, docs ...*ast.CommentGroup) {
		for _, doc := range docs {
			if doc.Text() != "" {
				return
			}
		}
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil || receiver(decl).IsExported() {
				check(decl.Name, decl.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						check(id, decl.Doc, spec.Doc, spec.Comment)
					}
				case *ast.TypeSpec:
					check(spec.Name, decl.Doc, spec.Doc)
					var fields *ast.FieldList
					switch typ := spec.Type.(type) {
					case *ast.StructType:
						fields = typ.Fields
					case *ast.InterfaceType:
						fields = typ.Methods
					}
					if !members || fields.NumFields() < 2 || !spec.Name.IsExported() {
						continue
					}
					for _, field := range fields.List {
						for _, id := range field.Names {
							check(id, field.Doc, field.Comment)
						}
					}
				}
			}
		}
	}
	return names
}

// receiver returns the name of a method's type.
func receiver(decl *ast.FuncDecl) *ast.Ident {
	typ := decl.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t
		default:
			return ast.NewIdent("")
		}
	}
}

// TestNoPageShowsAValueOfAnotherPage renders two pages that differ in one
// field, for each field. A field that a snippet shows must be in snippetKey, or
// be a slot of the compiled snippet.
func TestNoPageShowsAValueOfAnotherPage(t *testing.T) {
	values := map[string][2]string{ // for fields that do not take any string
		"PlatformURL":  {"https://platform-a.example.com", "https://platform-b.example.com"},
		"AnalyticsURL": {"https://analytics-a.example.com", "https://analytics-b.example.com"},
		"RenewURL":     {"/renew-a", "/renew-b"},
		"ProxyURL":     {"/proxy-a", "/proxy-b"},
		"Environment":  {"hipaa", "stg"},
	}
	pageType := reflect.TypeFor[searchtoken.Page]()
	for _, field := range append(reflect.VisibleFields(pageType), reflect.VisibleFields(reflect.TypeFor[searchtoken.Token]())...) {
		if field.Type.Kind() != reflect.String {
			continue // Identity, Token and Err have no text that a snippet shows; Token.Value is a case
		}
		t.Run(field.Name, func(t *testing.T) {
			pair, ok := values[field.Name]
			if !ok {
				pair = [2]string{"guard-" + field.Name + "-a", "guard-" + field.Name + "-b"}
			}
			for frontEnd, args := range map[searchtoken.FrontEnd]string{
				searchtoken.JSUI: "", searchtoken.Atomic: "", searchtoken.Headless: "",
				searchtoken.IPX: ` "id"`, searchtoken.IPXBuilder: ` "id"`,
			} {
				if field.Name == "ProxyURL" && args != "" {
					continue // TestExperiencesRefuseAProxyURL
				}
				var pages [2]string
				for i, value := range pair {
					page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
					target := reflect.ValueOf(page).Elem().FieldByName(field.Name)
					if !target.IsValid() {
						target = reflect.ValueOf(&page.Token).Elem().FieldByName(field.Name)
					}
					target.SetString(value)
					var err error
					if pages[i], err = render(t, "{{"+string(frontEnd)+" ."+args+"}}", page); err != nil {
						t.Fatal(err)
					}
				}
				if strings.Contains(pages[1], pair[0]) {
					t.Errorf("%s shows the %s of another page: add it to snippetKey in template.go, or make it a slot",
						frontEnd, field.Name)
				}
			}
		})
	}
}

// TestRoutesShareNothingWithTheirCaller fails if a field of Route can be
// changed after New or With has copied the Route.
func TestRoutesShareNothingWithTheirCaller(t *testing.T) {
	cloned := []string{"Params", "TrustedOrigins"} // TokenParams.clone has its own test
	for _, field := range reflect.VisibleFields(reflect.TypeFor[searchtoken.Route]()) {
		switch field.Type.Kind() {
		case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Struct, reflect.Array, reflect.Interface:
			if !slices.Contains(cloned, field.Name) {
				t.Errorf("Route.%s may be shared: clone it in Route.clone, test that, and list it here", field.Name)
			}
		}
	}
}
