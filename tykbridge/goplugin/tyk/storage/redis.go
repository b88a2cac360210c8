// Package storage is the gateway's own store, under the names that the gateway gives its Redis. Nothing here connects to
// anything: each call asks the gateway. The store has keys with a text or a count, and a time to live; what needs more of
// Redis is in unsupported.go.
package storage

import (
	"errors"
	"time"

	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/tykbridge"
)

// Errors of the store. A store that cannot be reached is another one, with the gateway's words.
var (
	ErrKeyNotFound  = errors.New("key not found")
	ErrRedisIsDown  = errors.New("storage: Redis is either down or was not configured")
	ErrStorageConn  = ErrRedisIsDown
	ErrNotSupported = errors.New("storage: the gateway's store has no lists, sets, scans and channels")
)

// RedisCluster is keys of the store that begin with KeyPrefix. Safe to use from any goroutine once its fields are set.
type RedisCluster struct {
	KeyPrefix   string
	HashKeys    bool // names of keys are hashed, behind the prefix
	IsCache     bool // means nothing here: there is one store
	IsAnalytics bool // likewise

	ConnectionHandler *ConnectionHandler // means nothing here
	RedisController   *RedisController   // likewise
}

// Connect tells that the store can be used: the gateway is connected.
func (r *RedisCluster) Connect() bool { return true }

// ControllerInitiated tells whether there is a controller.
func (r *RedisCluster) ControllerInitiated() bool { return r.RedisController != nil }

// GetKeyPrefix gives KeyPrefix.
func (r *RedisCluster) GetKeyPrefix() string { return r.KeyPrefix }

func (r *RedisCluster) key(name string) string {
	return r.KeyPrefix + HashKey(name, r.HashKeys)
}

// GetKey gives the text of a key, or ErrKeyNotFound.
func (r *RedisCluster) GetKey(keyName string) (string, error) { return r.GetRawKey(r.key(keyName)) }

// GetRawKey is GetKey of a whole key: without the prefix, and not hashed.
func (r *RedisCluster) GetRawKey(keyName string) (string, error) {
	value, found, err := tykbridge.Get(keyName)
	if err != nil {
		return "", err
	}
	if !found {
		return "", ErrKeyNotFound
	}
	return string(value), nil
}

// GetMultiKey gives the texts of keys, "" where there is none; ErrKeyNotFound where there is none at all.
func (r *RedisCluster) GetMultiKey(keyNames []string) ([]string, error) {
	values, any := make([]string, len(keyNames)), false
	for i, name := range keyNames {
		value, found, err := tykbridge.Get(r.key(name))
		if err != nil {
			return nil, err
		}
		values[i], any = string(value), any || found
	}
	if !any {
		return nil, ErrKeyNotFound
	}
	return values, nil
}

// SetKey sets the text of a key, for so many seconds; for good with 0 and less.
func (r *RedisCluster) SetKey(keyName, session string, timeout int64) error {
	return r.SetRawKey(r.key(keyName), session, timeout)
}

// SetRawKey is SetKey of a whole key.
func (r *RedisCluster) SetRawKey(keyName, session string, timeout int64) error {
	_, err := tykbridge.Set(keyName, []byte(session), seconds(timeout), false)
	return err
}

// SetKeyEx is SetKey.
func (r *RedisCluster) SetKeyEx(keyName, session string, timeout int64) error {
	return r.SetKey(keyName, session, timeout)
}

// SetRawKeyEx is SetRawKey.
func (r *RedisCluster) SetRawKeyEx(keyName, session string, timeout int64) error {
	return r.SetRawKey(keyName, session, timeout)
}

func seconds(timeout int64) time.Duration {
	if timeout <= 0 {
		return 0
	}
	return time.Duration(timeout) * time.Second
}

// Lock sets a whole key where it is not there, and tells whether it was not.
func (r *RedisCluster) Lock(key string, timeout time.Duration) (bool, error) {
	return tykbridge.Set(key, []byte("1"), timeout, true)
}

// Exists tells whether a key is there.
func (r *RedisCluster) Exists(keyName string) (bool, error) {
	_, found, err := tykbridge.TTL(r.key(keyName))
	return found, err
}

// GetKeyTTL gives the seconds that a key has left: -1 for good, -2 where it is not there.
func (r *RedisCluster) GetKeyTTL(keyName string) (int64, error) {
	left, found, err := tykbridge.TTL(r.key(keyName))
	switch {
	case err != nil:
		return 0, err
	case !found:
		return -2, nil
	case left < 0:
		return -1, nil
	}
	return int64((left + time.Second - 1) / time.Second), nil
}

// GetExp is GetKeyTTL.
func (r *RedisCluster) GetExp(keyName string) (int64, error) { return r.GetKeyTTL(keyName) }

// SetExp sets the seconds that a key has left. It reads the key and writes it again: a write by somebody else in between
// is lost.
func (r *RedisCluster) SetExp(keyName string, timeout int64) error {
	value, err := r.GetKey(keyName)
	if err == ErrKeyNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return r.SetKey(keyName, value, timeout)
}

// IncrememntWithExpire counts up, and gives the count; a key that was not there lasts so many seconds. It is a
// whole key, without the prefix, and the name of this method is the gateway's. 0 where the store failed: the error is in the log.
func (r *RedisCluster) IncrememntWithExpire(keyName string, expire int64) int64 {
	count, err := tykbridge.Increment(keyName, 1, seconds(expire))
	if err != nil {
		log.Get().WithError(err).WithField("key", keyName).Error("cannot count in the store")
		return 0
	}
	return count
}

// Decrement counts down.
func (r *RedisCluster) Decrement(keyName string) {
	if _, err := tykbridge.Increment(r.key(keyName), -1, 0); err != nil {
		log.Get().WithError(err).WithField("key", keyName).Error("cannot count in the store")
	}
}

// DeleteKey deletes a key, and tells whether it was there.
func (r *RedisCluster) DeleteKey(keyName string) bool { return r.DeleteRawKey(r.key(keyName)) }

// DeleteRawKey is DeleteKey of a whole key.
func (r *RedisCluster) DeleteRawKey(keyName string) bool {
	found, err := tykbridge.Delete(keyName)
	if err != nil {
		log.Get().WithError(err).WithField("key", keyName).Error("cannot delete from the store")
	}
	return found
}

// DeleteKeys deletes keys, and tells whether one of them was there.
func (r *RedisCluster) DeleteKeys(keyNames []string) bool {
	any := false
	for _, name := range keyNames {
		any = r.DeleteKey(name) || any
	}
	return any
}

// DeleteRawKeys is DeleteKeys of whole keys.
func (r *RedisCluster) DeleteRawKeys(keyNames []string) bool {
	any := false
	for _, name := range keyNames {
		any = r.DeleteRawKey(name) || any
	}
	return any
}
