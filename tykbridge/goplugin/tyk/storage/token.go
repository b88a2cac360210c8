package storage

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/TykTechnologies/tyk/config"
	"github.com/TykTechnologies/tyk/internal/keys"
)

// Functions that hash keys.
var (
	HashSha256    = "sha256"
	HashMurmur32  = "murmur32"
	HashMurmur64  = "murmur64"
	HashMurmur128 = "murmur128"
)

// B64JSONPrefix is how tokens begin that say what they are.
const B64JSONPrefix = "ey"

// MongoBsonIdLength is the length of an organisation's id in older tokens.
const MongoBsonIdLength = 24 //nolint:revive // its name is the interface's

// HashStr gives the hash of a key: by the function named, else by the one that the token names, else by the gateway's
// hash_key_function, murmur32 without one.
func HashStr(in string, withAlg ...string) string {
	if len(withAlg) > 0 && withAlg[0] != "" {
		return keys.Hash(in, withAlg[0])
	}
	if named := TokenHashAlgo(in); named != "" {
		return keys.Hash(in, named)
	}
	return keys.Hash(in, config.Global().HashKeyFunction)
}

// HashKey gives what stands for a key in the store: its hash, or the key where keys are not hashed. The gateway before 4.3
// had no second argument: without one the gateway's hash_keys decides.
func HashKey(in string, hashKey ...bool) string {
	hashed := config.Global().HashKeys
	if len(hashKey) > 0 {
		hashed = hashKey[0]
	}
	if !hashed {
		return in
	}
	return HashStr(in)
}

// GenerateToken makes a token for a key of an organisation, a random one for "". With a hash function it is base64 of a
// JSON object that names the three, without one it is the two ids.
func GenerateToken(orgID, keyID, hashAlgorithm string) (string, error) {
	if keyID == "" {
		random := make([]byte, 16)
		if _, err := rand.Read(random); err != nil {
			return "", err
		}
		keyID = hex.EncodeToString(random)
	}
	if hashAlgorithm == "" {
		return orgID + keyID, nil
	}
	var err error
	if !keys.Known(hashAlgorithm) {
		err = fmt.Errorf("storage: %q is no hash function: murmur64 is taken", hashAlgorithm)
		hashAlgorithm = HashMurmur64
	}
	return keys.Token{Org: orgID, ID: keyID, Hash: hashAlgorithm}.String(), err
}

// TokenHashAlgo gives the hash function that a token names, "" for none.
func TokenHashAlgo(token string) string { return keys.Read(token).Hash }

// TokenID gives the id of the key that a token names.
func TokenID(token string) (string, error) {
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return "", err
	}
	var said keys.Token
	if err := json.Unmarshal(text, &said); err != nil {
		return "", err
	}
	if said.ID == "" {
		return "", errors.New("storage: the token names no id")
	}
	return said.ID, nil
}

// TokenOrg gives the organisation that a token names, "" for none.
func TokenOrg(token string) string {
	if org := keys.Read(token).Org; org != "" {
		return org
	}
	if len(token) > MongoBsonIdLength {
		if _, err := hex.DecodeString(token[:MongoBsonIdLength]); err == nil {
			return token[:MongoBsonIdLength]
		}
	}
	return ""
}
