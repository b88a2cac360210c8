package tykbridge

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"testing"
)

// What docs/decisions/0010-a-go-host.md gives numbers of: go test -bench . -benchmem

func benchmark(b *testing.B, phases map[string]string, body []byte, parallel bool) {
	load(b, map[string]map[string]string{"api": phases})
	one := func(pb func() bool) {
		for pb() {
			r := httptest.NewRequest("POST", "/api/x?a=1&b=2", bytes.NewReader(body))
			for n := 0; n < 12; n++ {
				r.Header[fmt.Sprint("X-Header-", n)] = []string{"a value of some length, as they are"}
			}
			if upstream, _, err := new(Middleware).RunRequest(r); upstream == nil {
				b.Error(err)
			}
		}
	}
	b.ResetTimer()
	if parallel {
		b.SetParallelism(128)
		b.RunParallel(func(pb *testing.PB) { one(pb.Next) })
		return
	}
	n := 0
	one(func() bool { n++; return n <= b.N })
}

func BenchmarkNoHook(b *testing.B) { benchmark(b, nil, nil, false) }

func BenchmarkOneHook(b *testing.B) { benchmark(b, map[string]string{"pre": "user"}, nil, false) }

func BenchmarkOneHookBesideABody(b *testing.B) {
	benchmark(b, map[string]string{"pre": "user"}, make([]byte, 1<<20), false)
}

func BenchmarkManyAtOnce(b *testing.B) { benchmark(b, map[string]string{"pre": "user"}, nil, true) }
