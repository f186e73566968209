// Package interop tests searchtoken together with the routers, session
// libraries and middlewares that its users have. The tests are small programs,
// as these users write them. A region between "// recipe: NAME" and
// "// end recipe" is a code block of the documentation, which TestRecipes
// compares with it. There, t.Fatal and t.Error are log.Fatal and log.Print.
//
// It is a module by itself, so that the root module does not require what these
// tests import.
package interop
