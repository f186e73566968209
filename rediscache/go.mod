module github.com/searchtoken/searchtoken/rediscache

go 1.25.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/gorilla/sessions v1.4.0
	github.com/redis/rueidis v1.0.79
	github.com/searchtoken/searchtoken v0.0.0
)

require (
	github.com/gorilla/securecookie v1.1.2 // indirect
	github.com/patrickmn/go-cache v2.1.0+incompatible // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/time v0.14.0 // indirect
)

replace github.com/searchtoken/searchtoken => ../
