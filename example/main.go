// Example is a search site with login:
//
//	go run ./example
//
// starts it with a stand-in for the Coveo platform and prints its URL. If
// COVEO_ORGANIZATION_ID and COVEO_API_KEY are set in the environment, it
// searches the real platform instead. With the flag -proxy, the front ends send
// their calls to the site, and their pages hold no token. The flag -h lists all
// flags and environment variables.
package main

import "github.com/searchtoken/searchtoken/example/app"

func main() { app.App{}.Main() }
