package storage

// Handler is what the gateway asks of a store, for plugins that put one of their own in its place. RedisCluster is one.
type Handler interface {
	GetKey(keyName string) (string, error)
	GetMultiKey(keyNames []string) ([]string, error)
	GetRawKey(keyName string) (string, error)
	SetKey(keyName, session string, timeout int64) error
	SetRawKey(keyName, session string, timeout int64) error
	SetExp(keyName string, timeout int64) error
	GetExp(keyName string) (int64, error)
	GetKeys(filter string) []string
	DeleteKey(keyName string) bool
	DeleteAllKeys() bool
	DeleteRawKey(keyName string) bool
	Connect() bool
	GetKeysAndValues() map[string]string
	GetKeysAndValuesWithFilter(filter string) map[string]string
	DeleteKeys(keyNames []string) bool
	Decrement(keyName string)
	IncrememntWithExpire(keyName string, expire int64) int64
	SetRollingWindow(keyName string, per int64, value string, pipeline bool) (int, []interface{})
	GetRollingWindow(keyName string, per int64, pipeline bool) (int, []interface{})
	GetSet(keyName string) (map[string]string, error)
	AddToSet(keyName, value string)
	GetAndDeleteSet(keyName string) []interface{}
	RemoveFromSet(keyName, value string)
	DeleteScanMatch(pattern string) bool
	GetKeyPrefix() string
	AddToSortedSet(keyName, value string, score float64)
	GetSortedSetRange(keyName, scoreFrom, scoreTo string) ([]string, []float64, error)
	RemoveSortedSetRange(keyName, scoreFrom, scoreTo string) error
	GetListRange(keyName string, from, to int64) ([]string, error)
	RemoveFromList(keyName, value string) error
	AppendToSet(keyName, value string)
	Exists(keyName string) (bool, error)
}

var _ Handler = (*RedisCluster)(nil)
