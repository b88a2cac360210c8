// Package loose reads and writes JSON objects of which only some keys are known, and loses nothing.
package loose

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
)

// Rest is what an object has beside the known keys.
type Rest map[string]json.RawMessage

// Decode reads an object into a struct (a pointer to one that has no UnmarshalJSON) and gives the rest of it. A value
// that does not fit its field leaves the field as it is: the definition of another version is better read in part than
// not at all. It stands in the rest then, and is written as it came.
func Decode(data []byte, into any) (Rest, error) {
	err := json.Unmarshal(data, into)
	var misfit *json.UnmarshalTypeError
	if err != nil && !errors.As(err, &misfit) {
		return nil, err
	}
	var rest Rest
	if json.Unmarshal(data, &rest) != nil {
		return nil, err
	}
	bad := ""
	if misfit != nil {
		bad, _, _ = strings.Cut(misfit.Field, ".")
	}
	for _, name := range names(reflect.TypeOf(into).Elem()) {
		if name != bad {
			delete(rest, name)
		}
	}
	if len(rest) == 0 {
		return nil, nil
	}
	return rest, nil
}

// Encode writes a struct (that has no MarshalJSON) as an object, with the rest of it.
func Encode(from any, rest Rest) ([]byte, error) {
	known, err := json.Marshal(from)
	if err != nil || len(rest) == 0 || !bytes.HasPrefix(known, []byte("{")) {
		return known, err
	}
	merged := Rest{}
	if err := json.Unmarshal(known, &merged); err != nil {
		return nil, err
	}
	for key, value := range rest {
		merged[key] = value
	}
	return json.Marshal(merged)
}

var asked sync.Map // of reflect.Type: []string

// names gives the keys of a struct's fields, with those of embedded ones.
func names(t reflect.Type) []string {
	if of, found := asked.Load(t); found {
		return of.([]string)
	}
	var of []string
	for i := 0; i < t.NumField(); i++ {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "" && field.Type.Kind() == reflect.Struct:
			of = append(of, names(field.Type)...)
		case name == "-" || !field.IsExported():
		case name == "":
			of = append(of, field.Name)
		default:
			of = append(of, name)
		}
	}
	asked.Store(t, of)
	return of
}
