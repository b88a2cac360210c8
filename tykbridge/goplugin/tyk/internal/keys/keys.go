// Package keys hashes keys, and reads what tokens say of themselves, as the gateway does.
package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"strings"

	"github.com/spaolacci/murmur3"
)

// Default is the function where nothing else is said.
const Default = "murmur32"

var functions = map[string]func() hash.Hash{
	"sha256":    sha256.New,
	"murmur32":  func() hash.Hash { return murmur3.New32() },
	"murmur64":  func() hash.Hash { return murmur3.New64() },
	"murmur128": func() hash.Hash { return murmur3.New128() },
}

// Known tells whether there is such a function.
func Known(function string) bool { return functions[function] != nil }

// Hash gives the hexadecimal digits of a key's hash. An unknown function is the default.
func Hash(key, function string) string {
	if !Known(function) {
		function = Default
	}
	sum := functions[function]()
	sum.Write([]byte(key))
	return hex.EncodeToString(sum.Sum(nil))
}

// Token is what a token says that the gateway made with a hash function: base64 of this as JSON.
type Token struct {
	Org  string `json:"org"`
	ID   string `json:"id"`
	Hash string `json:"h"`
}

// Read gives what a token says, nothing where it says nothing.
func Read(token string) (said Token) {
	if strings.HasPrefix(token, "ey") { // `{"`
		if text, err := base64.StdEncoding.DecodeString(token); err == nil {
			_ = json.Unmarshal(text, &said)
		}
	}
	return said
}

// String gives the token that says so.
func (t Token) String() string {
	text, _ := json.Marshal(t)
	return base64.StdEncoding.EncodeToString(text)
}
