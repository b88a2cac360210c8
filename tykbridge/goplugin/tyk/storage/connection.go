package storage

import (
	"context"
	"sync/atomic"

	"github.com/TykTechnologies/tyk/config"
)

// ConnectionHandler looks after connections to Redis in the gateway. Here it has nothing to do: the store is the gateway's,
// and it says that it is connected, in init() too, where plugins wait for that. What the gateway cannot do is an error then.
type ConnectionHandler struct{ disabled atomic.Bool }

// NewConnectionHandler gives one.
func NewConnectionHandler(context.Context) *ConnectionHandler { return &ConnectionHandler{} }

// Connect calls onConnect, where it is not nil, and returns.
func (c *ConnectionHandler) Connect(_ context.Context, onConnect func(), _ *config.Config) {
	if onConnect != nil {
		onConnect()
	}
}

// Connected tells whether DisableStorage(true) was not called.
func (c *ConnectionHandler) Connected() bool { return !c.disabled.Load() }

// WaitConnect is Connected.
func (c *ConnectionHandler) WaitConnect(context.Context) bool { return c.Connected() }

// DisableStorage has Connected tell false, or true again. The store stays as it is.
func (c *ConnectionHandler) DisableStorage(down bool) { c.disabled.Store(down) }

// Disconnect does nothing.
func (c *ConnectionHandler) Disconnect() error { return nil }

// RedisController is ConnectionHandler under the name that it had before gateway 5.3.
type RedisController struct{ ConnectionHandler }

// NewRedisController gives one.
func NewRedisController(context.Context) *RedisController { return &RedisController{} }

// ConnectToRedis is Connect.
func (c *RedisController) ConnectToRedis(ctx context.Context, onConnect func(), conf *config.Config) {
	c.Connect(ctx, onConnect, conf)
}

// DisableRedis is DisableStorage.
func (c *RedisController) DisableRedis(down bool) { c.DisableStorage(down) }

// ConnectToRedis is what gateway 3 had: it calls onConnect, where it is not nil, and returns.
func ConnectToRedis(_ context.Context, onConnect func()) {
	if onConnect != nil {
		onConnect()
	}
}

// Connected is what gateway 3 had: it tells true.
func Connected() bool { return true }

// IsConnected is what gateway 2.9 had: it tells true.
func IsConnected() bool { return true }
