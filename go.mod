module github.com/searchtoken/searchtoken

go 1.25.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/gorilla/securecookie v1.1.2
	github.com/gorilla/sessions v1.4.0
	github.com/patrickmn/go-cache v2.1.0+incompatible
	golang.org/x/time v0.14.0
)
