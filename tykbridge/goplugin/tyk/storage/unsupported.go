package storage

import (
	"context"
	"fmt"

	"github.com/TykTechnologies/tyk/log"
)

// What the gateway's store does not have. It compiles, for plugins that never come by; called, it is ErrNotSupported. Where
// a method gives no error it panics with it, which is the hook's error: any answer would be made up, and a limit that counts
// 0 lets everybody in. A write that gives nothing back is an error line of the log.

func unsupported(method string) error {
	return fmt.Errorf("storage.RedisCluster.%s: %w", method, ErrNotSupported)
}

func drop(method string) { log.Get().Error(unsupported(method).Error() + ": nothing was written") }

// GetKeys panics.
func (r *RedisCluster) GetKeys(string) []string { panic(unsupported("GetKeys")) }

// GetKeysAndValues panics.
func (r *RedisCluster) GetKeysAndValues() map[string]string { panic(unsupported("GetKeysAndValues")) }

// GetKeysAndValuesWithFilter panics.
func (r *RedisCluster) GetKeysAndValuesWithFilter(string) map[string]string {
	panic(unsupported("GetKeysAndValuesWithFilter"))
}

// ScanKeys is an error.
func (r *RedisCluster) ScanKeys(string) ([]string, error) { return nil, unsupported("ScanKeys") }

// DeleteAllKeys panics.
func (r *RedisCluster) DeleteAllKeys() bool { panic(unsupported("DeleteAllKeys")) }

// DeleteScanMatch panics.
func (r *RedisCluster) DeleteScanMatch(string) bool { panic(unsupported("DeleteScanMatch")) }

// SetRollingWindow panics.
func (r *RedisCluster) SetRollingWindow(string, int64, string, bool) (int, []interface{}) {
	panic(unsupported("SetRollingWindow"))
}

// GetRollingWindow panics.
func (r *RedisCluster) GetRollingWindow(string, int64, bool) (int, []interface{}) {
	panic(unsupported("GetRollingWindow"))
}

// GetSet is an error.
func (r *RedisCluster) GetSet(string) (map[string]string, error) { return nil, unsupported("GetSet") }

// IsMemberOfSet panics.
func (r *RedisCluster) IsMemberOfSet(string, string) bool { panic(unsupported("IsMemberOfSet")) }

// GetAndDeleteSet panics.
func (r *RedisCluster) GetAndDeleteSet(string) []interface{} { panic(unsupported("GetAndDeleteSet")) }

// AddToSet writes nothing.
func (r *RedisCluster) AddToSet(string, string) { drop("AddToSet") }

// AppendToSet writes nothing.
func (r *RedisCluster) AppendToSet(string, string) { drop("AppendToSet") }

// AppendToSetPipelined writes nothing.
func (r *RedisCluster) AppendToSetPipelined(string, [][]byte) { drop("AppendToSetPipelined") }

// RemoveFromSet writes nothing.
func (r *RedisCluster) RemoveFromSet(string, string) { drop("RemoveFromSet") }

// GetListRange is an error.
func (r *RedisCluster) GetListRange(string, int64, int64) ([]string, error) {
	return nil, unsupported("GetListRange")
}

// RemoveFromList is an error.
func (r *RedisCluster) RemoveFromList(string, string) error { return unsupported("RemoveFromList") }

// AddToSortedSet writes nothing.
func (r *RedisCluster) AddToSortedSet(string, string, float64) { drop("AddToSortedSet") }

// GetSortedSetRange is an error.
func (r *RedisCluster) GetSortedSetRange(string, string, string) ([]string, []float64, error) {
	return nil, nil, unsupported("GetSortedSetRange")
}

// RemoveSortedSetRange is an error.
func (r *RedisCluster) RemoveSortedSetRange(string, string, string) error {
	return unsupported("RemoveSortedSetRange")
}

// Publish is an error.
func (r *RedisCluster) Publish(string, string) error { return unsupported("Publish") }

// StartPubSubHandler is an error.
func (r *RedisCluster) StartPubSubHandler(context.Context, string, func(interface{})) error {
	return unsupported("StartPubSubHandler")
}
