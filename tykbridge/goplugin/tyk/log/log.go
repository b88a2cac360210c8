// Package log is the logger of plugins: its lines reach the gateway's log.
package log

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/TykTechnologies/tyk/tykbridge"
)

var (
	logger = ours(logrus.New(), hook{fields: true})
	raw    = ours(logrus.New(), hook{})
)

// Get gives the logger, of which there is one for all the plugin. Fatal ends the hook, as an error, and not the gateway.
func Get() *logrus.Logger { return logger }

// GetRaw gives the logger that leaves fields out.
func GetRaw() *logrus.Logger { return raw }

// ours makes a logger write to the gateway's log. Its own output goes nowhere: a logger's writer is not told the level.
func ours(l *logrus.Logger, h hook) *logrus.Logger {
	l.SetOutput(io.Discard)
	l.SetFormatter(quiet{})
	l.AddHook(h)
	l.ExitFunc = tykbridge.Exit
	l.SetLevel(initial)
	return l
}

// initial is the level that the environment asks for, and the gateway's default otherwise.
var initial, asked = level(os.Getenv("TYK_GW_LOGLEVEL"), os.Getenv("TYK_LOGLEVEL"))

func level(names ...string) (logrus.Level, bool) {
	for _, name := range names {
		switch strings.ToLower(name) {
		case "debug":
			return logrus.DebugLevel, true
		case "info":
			return logrus.InfoLevel, true
		case "warn", "warning":
			return logrus.WarnLevel, true
		case "error":
			return logrus.ErrorLevel, true
		}
	}
	return logrus.InfoLevel, false
}

func init() {
	// What a plugin logs through logrus itself is meant for the same log, and its Fatal must not end the gateway either.
	ours(logrus.StandardLogger(), hook{fields: true})
	tykbridge.OnConnect(func() {
		var settings struct {
			Level string `json:"log_level"`
		}
		_ = json.Unmarshal(tykbridge.Settings(), &settings) // none, or no level: the default stays
		wanted, set := level(settings.Level)
		if asked || !set {
			return
		}
		for _, l := range []*logrus.Logger{logger, raw, logrus.StandardLogger()} {
			if l.GetLevel() == initial { // else the plugin has set one
				l.SetLevel(wanted)
			}
		}
	})
}

// hook takes lines to the gateway.
type hook struct{ fields bool }

// Levels are all.
func (hook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire takes one line.
func (h hook) Fire(entry *logrus.Entry) error {
	tykbridge.Log(levels[entry.Level], h.text(entry))
	return nil
}

// levels are the gateway's four.
var levels = map[logrus.Level]string{
	logrus.TraceLevel: "debug", logrus.DebugLevel: "debug", logrus.InfoLevel: "info", logrus.WarnLevel: "warning",
	logrus.ErrorLevel: "error", logrus.FatalLevel: "error", logrus.PanicLevel: "error",
}

// text gives the message, and the fields behind it as logrus writes them; or what a formatter of the plugin's own makes.
func (h hook) text(entry *logrus.Entry) string {
	if _, own := entry.Logger.Formatter.(quiet); !own {
		if text, err := entry.Logger.Formatter.Format(entry); err == nil {
			return strings.TrimRight(string(text), "\n")
		}
	}
	if !h.fields || len(entry.Data) == 0 && !entry.HasCaller() {
		return entry.Message
	}
	names := make([]string, 0, len(entry.Data))
	for name := range entry.Data {
		names = append(names, name)
	}
	sort.Strings(names)
	var text strings.Builder
	text.WriteString(entry.Message)
	for _, name := range names {
		fmt.Fprintf(&text, " %s=%s", name, quoted(fmt.Sprint(entry.Data[name])))
	}
	if entry.HasCaller() {
		fmt.Fprintf(&text, " file=%s:%d", quoted(entry.Caller.File), entry.Caller.Line)
	}
	return text.String()
}

// quoted makes a value one word.
func quoted(value string) string {
	if value == "" || strings.ContainsAny(value, " =\"") || strconv.Quote(value) != `"`+value+`"` {
		return strconv.Quote(value)
	}
	return value
}

// quiet is the formatter of loggers whose output goes nowhere.
type quiet struct{}

// Format gives nothing.
func (quiet) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
