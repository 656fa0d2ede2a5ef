// The generated client against a running server.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	wharfinger "example.com/wharfinger"
)

func require(holds bool, what ...any) {
	if !holds {
		fmt.Fprintln(os.Stderr, what...)
		os.Exit(1)
	}
}

func main() {
	configuration := wharfinger.NewConfiguration()
	configuration.Servers = wharfinger.ServerConfigurations{{URL: os.Getenv("SERVER_URL")}}
	name, password, _ := strings.Cut(os.Getenv("ADMIN"), ":")
	auth := wharfinger.BasicAuth{UserName: name, Password: password}
	ctx := context.WithValue(context.Background(), wharfinger.ContextBasicAuth, auth)
	client := wharfinger.NewAPIClient(configuration)

	registryInput := wharfinger.NewPostRegistryInput(*wharfinger.NewPostRegistryProperties("de/fra", "golang"))
	registry, _, err := client.RegistriesAPI.RegistriesPost(ctx).PostRegistryInput(*registryInput).Execute()
	require(err == nil, "registry", err)
	require(!registry.Properties.GarbageCollectionSchedule.IsSet() || registry.Properties.GarbageCollectionSchedule.Get() == nil)

	properties := wharfinger.NewPostTokenProperties("push-token")
	expiry := time.Date(2036, 1, 13, 16, 27, 42, 0, time.UTC)
	properties.SetExpiryDate(expiry)
	properties.SetScopes([]wharfinger.Scope{*wharfinger.NewScope([]string{"pull", "push"}, "*", "repository")})
	properties.SetStatus(wharfinger.ENABLED)
	input := wharfinger.NewPostTokenInput(*properties)
	token, _, err := client.TokensAPI.RegistriesTokensPost(ctx, registry.Id).PostTokenInput(*input).Execute()
	require(err == nil, "token", err)
	first := token.Properties.Credentials.Password
	require(strings.HasPrefix(first, "whrt_"), "no secret")
	require(token.Properties.ExpiryDate.Get().Equal(expiry), "expiry", token.Properties.ExpiryDate.Get())

	tokens, _, err := client.TokensAPI.RegistriesTokensGet(ctx, registry.Id).Limit("1").Execute()
	require(err == nil && tokens.Total == 1 && tokens.Items[0].Properties.Credentials.Password == "", "list", err)

	id := token.GetId()
	patch := wharfinger.NewPatchTokenInput()
	patch.SetStatus(wharfinger.DISABLED)
	changed, _, err := client.TokensAPI.RegistriesTokensPatch(ctx, registry.Id, id).PatchTokenInput(*patch).Execute()
	require(err == nil && changed.Properties.Status == wharfinger.DISABLED, "status", err)
	require(changed.Properties.ExpiryDate.Get() != nil, "what was absent has changed")

	patch = wharfinger.NewPatchTokenInput()
	patch.SetExpiryDateNil()
	changed, _, err = client.TokensAPI.RegistriesTokensPatch(ctx, registry.Id, id).PatchTokenInput(*patch).Execute()
	require(err == nil && changed.Properties.ExpiryDate.Get() == nil, "expiry", err)
	require(len(changed.Properties.Scopes) == 1 && changed.Properties.Status == wharfinger.DISABLED, "what was absent has changed")

	rotation := wharfinger.NewRotateTokenInput("PT0S")
	rotated, _, err := client.TokensAPI.RegistriesTokensRotate(ctx, registry.Id, id).RotateTokenInput(*rotation).Execute()
	require(err == nil, "rotate", err)
	second := rotated.Properties.Credentials.Password
	require(strings.HasPrefix(second, "whrt_") && second != first, "no new secret")

	_, err = client.TokensAPI.RegistriesTokensDelete(ctx, registry.Id, id).Execute()
	require(err == nil, "delete", err)
	_, _, err = client.TokensAPI.RegistriesTokensFindById(ctx, registry.Id, id).Execute()
	var refused *wharfinger.GenericOpenAPIError
	require(errors.As(err, &refused), "no refusal", err)
	told, typed := refused.Model().(wharfinger.ApiErrorResponse)
	require(typed && told.HttpStatus == 404 && told.Messages[0].ErrorCode == "token-not-found", "refusal", err)

	_, err = client.RegistriesAPI.RegistriesDelete(ctx, registry.Id).Execute()
	require(err == nil, "delete", err)
	fmt.Println("the generated Go client works")
}
