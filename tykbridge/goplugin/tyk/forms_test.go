// Package tyk_test compiles what plugins write.
package tyk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestEveryFormCompiles compiles testdata/forms, as a plugin whose go.mod says "go 1.16", or that has none of its own, does:
// without type parameters that would have to be inferred.
func TestEveryFormCompiles(t *testing.T) {
	folders, err := filepath.Glob("testdata/forms/*")
	if err != nil || len(folders) < 5 {
		t.Fatal(folders, err)
	}
	for _, folder := range folders {
		folder := folder
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			command := exec.Command("go", "build", "-gcflags=-lang=go1.16", "-o", os.DevNull, "./"+folder)
			if said, err := command.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
		})
	}
}
