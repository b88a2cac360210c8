package storage_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/TykTechnologies/tyk/internal/fakehost"
	"github.com/TykTechnologies/tyk/storage"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(got T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %#v, want %#v", got, want)
	}
}

func TestKeysAreTheGatewaysOwn(t *testing.T) {
	host := fakehost.Connect("")
	store := storage.RedisCluster{KeyPrefix: "plugin:"}
	if err := store.SetKey("a", "1", 60); err != nil {
		t.Fatal(err)
	}
	equal(t, must[string](t)(store.GetKey("a")), "1")
	value, found, _ := host.Get("plugin:a")
	equal(t, string(value)+" "+map[bool]string{true: "found"}[found], "1 found")
	equal(t, must[string](t)(store.GetRawKey("plugin:a")), "1")
	equal(t, must[int64](t)(store.GetExp("a")), int64(60))
	equal(t, must[int64](t)(store.GetKeyTTL("b")), int64(-2))
	equal(t, must[bool](t)(store.Exists("a")), true)
	if _, err := store.GetKey("b"); err != storage.ErrKeyNotFound {
		t.Fatalf("of a missing key: %v", err)
	}
	equal(t, must[[]string](t)(store.GetMultiKey([]string{"b", "a"})), []string{"", "1"})
	if err := store.SetExp("a", 0); err != nil {
		t.Fatal(err)
	}
	equal(t, must[int64](t)(store.GetExp("a")), int64(-1))
	equal(t, store.DeleteKeys([]string{"a", "b"}), true)
	equal(t, store.DeleteKey("a"), false)
}

func TestCounts(t *testing.T) {
	fakehost.Connect("")
	store := storage.RedisCluster{KeyPrefix: "n:"}
	equal(t, store.IncrememntWithExpire("n:x", 10), int64(1)) // of a whole key, as the gateway has it
	equal(t, store.IncrememntWithExpire("n:x", 99), int64(2))
	equal(t, must[int64](t)(store.GetExp("x")), int64(10))
	store.Decrement("x")
	equal(t, must[string](t)(store.GetKey("x")), "1")
	equal(t, must[bool](t)(store.Lock("lock", time.Second)), true)
	equal(t, must[bool](t)(store.Lock("lock", time.Second)), false)
}

func TestHashedKeysAreThoseOfTheGatewaysSessions(t *testing.T) {
	for _, one := range []struct{ conf, key, hashed string }{
		{"", "hello", "248bfa47"}, // of the tests of github.com/spaolacci/murmur3
		{`{"hash_key_function": "murmur128"}`, "hello", "cbd8a7b341bd9b025b1e906a48ae1d19"},
		{`{"hash_key_function": "murmur64"}`, "hello", "cbd8a7b341bd9b02"},
		{`{"hash_key_function": "sha256"}`, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	} {
		host := fakehost.Connect(one.conf)
		store := storage.RedisCluster{KeyPrefix: "apikey-", HashKeys: true}
		if err := store.SetKey(one.key, "{}", 0); err != nil {
			t.Fatal(err)
		}
		if _, found, _ := host.Get("apikey-" + one.hashed); !found {
			t.Fatalf("%s: nothing under apikey-%s", one.conf, one.hashed)
		}
	}
	fakehost.Connect(`{"hash_keys": true}`)
	equal(t, storage.HashKey("hello"), "248bfa47") // before 4.3
	equal(t, storage.HashKey("hello", true), "248bfa47")
	equal(t, storage.HashKey("hello", false), "hello")
}

func TestTokens(t *testing.T) {
	fakehost.Connect("")
	token := must[string](t)(storage.GenerateToken("org1", "key1", "sha256"))
	equal(t, storage.TokenOrg(token), "org1")
	equal(t, storage.TokenHashAlgo(token), "sha256")
	equal(t, must[string](t)(storage.TokenID(token)), "key1")
	equal(t, storage.HashStr(token), storage.HashStr(token, storage.HashSha256))
	older := must[string](t)(storage.GenerateToken("5e9d9544a1dcd60001d0ed20", "key1", ""))
	equal(t, storage.TokenOrg(older), "5e9d9544a1dcd60001d0ed20")
	equal(t, storage.TokenOrg("no token of ours"), "")
	if first, second := must[string](t)(storage.GenerateToken("", "", "")), must[string](t)(storage.GenerateToken("", "", "")); first == second {
		t.Fatal("two random keys are one")
	}
}

func TestAStoreThatIsDownIsAnError(t *testing.T) {
	host := fakehost.Connect("")
	host.Down = true
	store := storage.RedisCluster{}
	if _, err := store.GetKey("a"); !errors.Is(err, fakehost.ErrDown) {
		t.Fatal(err)
	}
	if _, err := store.GetMultiKey([]string{"a"}); !errors.Is(err, fakehost.ErrDown) {
		t.Fatal(err)
	}
	if err := store.SetExp("a", 1); !errors.Is(err, fakehost.ErrDown) {
		t.Fatal(err)
	}
	equal(t, store.IncrememntWithExpire("a", 1), int64(0))
	equal(t, store.DeleteKey("a"), false)
	for _, line := range host.Lines() {
		equal(t, line.Level, "error")
	}
}

func TestConnectionsOfEveryGateway(t *testing.T) {
	ctx := context.Background()
	called := 0
	count := func() { called++ }
	storage.ConnectToRedis(ctx, count)
	storage.NewRedisController(ctx).ConnectToRedis(ctx, count, nil)
	handler := storage.NewConnectionHandler(ctx)
	handler.Connect(ctx, count, nil)
	equal(t, called, 3)
	equal(t, handler.WaitConnect(ctx) && storage.Connected() && storage.IsConnected(), true)
	handler.DisableStorage(true)
	equal(t, handler.Connected(), false)
}

// What the store does not have. The README has the same list: tests/test_goplugin_module.py compares them.
var stubs = []string{
	"AddToSet", "AddToSortedSet", "AppendToSet", "AppendToSetPipelined", "DeleteAllKeys", "DeleteScanMatch",
	"GetAndDeleteSet", "GetKeys", "GetKeysAndValues", "GetKeysAndValuesWithFilter", "GetListRange", "GetRollingWindow",
	"GetSet", "GetSortedSetRange", "IsMemberOfSet", "Publish", "RemoveFromList", "RemoveFromSet", "RemoveSortedSetRange",
	"ScanKeys", "SetRollingWindow", "StartPubSubHandler",
}

func TestEveryStubSaysThatItIsOne(t *testing.T) {
	host := fakehost.Connect("")
	for _, name := range stubs {
		t.Run(name, func(t *testing.T) {
			method := reflect.ValueOf(&storage.RedisCluster{}).MethodByName(name)
			arguments := make([]reflect.Value, method.Type().NumIn())
			for i := range arguments {
				arguments[i] = reflect.Zero(method.Type().In(i))
			}
			defer func() {
				said, panicked := recover().(error)
				lines := host.Lines()
				switch {
				case panicked && errors.Is(said, storage.ErrNotSupported):
				case len(lines) == 1 && lines[0].Level == "error":
				default:
					t.Fatalf("%s answers: %v, %v", name, said, lines)
				}
			}()
			answers := method.Call(arguments)
			if n := len(answers); n > 0 {
				if err, is := answers[n-1].Interface().(error); is {
					panic(err)
				}
			}
		})
	}
}
