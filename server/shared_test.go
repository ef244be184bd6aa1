package server

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// own are the settings in which the servers of a store may differ.
var own = strings.Fields(`
	Listen HTTPListen AdminListen TLSCert TLSKey TLSClientCA Callers Insecure Redis RedisCert RedisKey RedisCA
	Rate Burst MaxInFlight MaxConnections MaxConnectionsPerAddress LameDuck Drain MaxDeadline ReplicasTimeout
	Reflection Trial Logger Audit TracerProvider SkewAhead`)

// TestSharedSettings changes each setting. The store's servers must agree on it, or it is
// one of their own: a new setting needs a decision.
func TestSharedSettings(t *testing.T) {
	decide := func(name string, before, after Config) {
		shared := !maps.Equal(before.withDefaults().shared(), after.withDefaults().shared())
		if shared == slices.Contains(own, name) {
			t.Errorf("%s: servers compare it is %t; name it either in Config.shared or in own", name, shared)
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if !field.IsExported() || field.Type == reflect.TypeFor[Rules]() || field.Type.Kind() == reflect.Map {
			continue
		}
		var c Config
		change(reflect.ValueOf(&c).Elem().FieldByIndex(field.Index))
		decide(field.Name, Config{}, c)
	}
	for i := range reflect.TypeFor[Rules]().NumField() {
		var c Config
		change(reflect.ValueOf(&c.Rules).Elem().Field(i))
		decide(reflect.TypeFor[Rules]().Field(i).Name, Config{}, c)
	}
	for i := range reflect.TypeFor[LedgerRules]().NumField() {
		var rules LedgerRules
		change(reflect.ValueOf(&rules).Elem().Field(i))
		decide(reflect.TypeFor[LedgerRules]().Field(i).Name,
			Config{Ledgers: map[string]LedgerRules{"l": {}}}, Config{Ledgers: map[string]LedgerRules{"l": rules}})
	}
}

// change gives a field another value than its default. Loggers keep theirs.
func change(field reflect.Value) {
	switch field.Kind() {
	case reflect.String:
		field.SetString(string(Shared)) // a value of TransactionIDs too
	case reflect.Bool:
		field.SetBool(true)
	case reflect.Int, reflect.Int64:
		field.SetInt(7)
	case reflect.Slice:
		field.Set(reflect.Append(field, reflect.ValueOf("*")))
	}
}

// TestNegativeSettingsAreRefused sets each number and each time to -1. The refusal names
// the setting.
func TestNegativeSettingsAreRefused(t *testing.T) {
	var c Config
	var ledger LedgerRules
	refused := 0
	for _, of := range []any{&c, &c.Rules, &ledger} {
		settings := reflect.ValueOf(of).Elem()
		for i := range settings.NumField() {
			field := settings.Type().Field(i)
			if kind := field.Type.Kind(); !field.IsExported() || kind != reflect.Int && kind != reflect.Int64 {
				continue
			}
			settings.Field(i).SetInt(-1)
			c.Ledgers = map[string]LedgerRules{"l": ledger}
			if err := c.withDefaults().check(); err == nil || !strings.Contains(err.Error(), field.Name+" is -1") {
				t.Errorf("%s is -1: %v, want a refusal that names it", field.Name, err)
			}
			settings.Field(i).SetInt(0)
			refused++
		}
	}
	if refused < 18 {
		t.Errorf("only %d settings were tried", refused)
	}
}
