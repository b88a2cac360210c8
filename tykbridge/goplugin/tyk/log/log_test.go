package log_test

import (
	"errors"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/TykTechnologies/tyk/internal/fakehost"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/tykbridge"
)

func expect(t *testing.T, host *fakehost.Host, lines ...fakehost.Line) {
	t.Helper()
	got := host.Lines()
	if len(got) != len(lines) {
		t.Fatalf("got %q, want %q", got, lines)
	}
	for i := range lines {
		if got[i] != lines[i] {
			t.Fatalf("got %q, want %q", got[i], lines[i])
		}
	}
}

func TestLevelsAreKept(t *testing.T) {
	host := fakehost.Connect(`{"log_level": "debug"}`)
	defer log.Get().SetLevel(logrus.InfoLevel)
	log.Get().Debug("a")
	log.Get().Info("b")
	log.Get().Warning("c")
	log.Get().Errorf("%d", 4)
	expect(t, host, fakehost.Line{Level: "debug", Message: "a"}, fakehost.Line{Level: "info", Message: "b"}, fakehost.Line{Level: "warning", Message: "c"}, fakehost.Line{Level: "error", Message: "4"})
}

func TestLinesBelowTheGatewaysLevelAreNotSent(t *testing.T) {
	host := fakehost.Connect(`{"log_level": "error"}`)
	defer log.Get().SetLevel(logrus.InfoLevel)
	log.Get().Warn("a")
	expect(t, host)
}

func TestALevelOfThePluginsOwnStays(t *testing.T) {
	log.Get().SetLevel(logrus.DebugLevel)
	defer log.Get().SetLevel(logrus.InfoLevel)
	host := fakehost.Connect(`{"log_level": "error"}`)
	log.Get().Debug("a")
	expect(t, host, fakehost.Line{Level: "debug", Message: "a"})
}

func TestFieldsStandBehindTheMessage(t *testing.T) {
	host := fakehost.Connect("")
	log.Get().WithFields(logrus.Fields{"n": 1, "a b": "x y", "e": ""}).WithError(errors.New("no\nway")).Info("m")
	expect(t, host, fakehost.Line{Level: "info", Message: `m a b="x y" e="" error="no\nway" n=1`})
	log.GetRaw().WithField("n", 1).Info("m")
	expect(t, host, fakehost.Line{Level: "info", Message: "m"})
}

func TestAFormatterOfThePluginsOwnFormats(t *testing.T) {
	host := fakehost.Connect("")
	quiet := log.Get().Formatter
	defer log.Get().SetFormatter(quiet)
	log.Get().SetFormatter(&logrus.JSONFormatter{DisableTimestamp: true})
	log.Get().WithField("n", 1).Warn("m")
	expect(t, host, fakehost.Line{Level: "warning", Message: `{"level":"warning","msg":"m","n":1}`})
}

func TestLogrusItselfReachesTheLog(t *testing.T) {
	host := fakehost.Connect("")
	logrus.Warn("m")
	expect(t, host, fakehost.Line{Level: "warning", Message: "m"})
}

func TestFatalEndsTheHookAndNotTheGateway(t *testing.T) {
	host := fakehost.Connect("")
	for _, fatal := range []func(...interface{}){log.Get().Fatal, logrus.Fatal} {
		func() {
			defer func() {
				if exited, is := recover().(tykbridge.Exited); !is || exited.Code != 1 {
					t.Fatalf("Fatal ended with %v", exited)
				}
			}()
			fatal("m")
		}()
		expect(t, host, fakehost.Line{Level: "error", Message: "m"})
	}
}
