// Package clone makes copies that share nothing with what they were made of.
package clone

import (
	"reflect"
	"strings"
	"sync"
	"unsafe"
)

// Of gives a deep copy: a hook may change it while others read the original. A pointer that occurs twice, in a schema that
// refers to itself, say, is copied once, so that this ends.
func Of[T any](original *T) *T {
	if original == nil {
		return nil
	}
	return copier{}.value(reflect.ValueOf(original)).Interface().(*T)
}

// copier has the copies of pointers met so far.
type copier map[unsafe.Pointer]reflect.Value

func (c copier) value(from reflect.Value) reflect.Value {
	if plain(from.Type()) {
		return from
	}
	to := reflect.New(from.Type()).Elem()
	switch from.Kind() {
	case reflect.Pointer:
		if from.IsNil() {
			return from
		}
		if known, found := c[from.UnsafePointer()]; found && known.Type() == from.Type() {
			return known
		}
		to = reflect.New(from.Type().Elem())
		c[from.UnsafePointer()] = to
		c.into(to.Elem(), from.Elem())
		return to.Convert(from.Type())
	case reflect.Map:
		if from.IsNil() {
			return from
		}
		to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
		for each := from.MapRange(); each.Next(); {
			to.SetMapIndex(each.Key(), c.value(each.Value()))
		}
	default:
		c.into(to, from)
	}
	return to
}

// into copies to a place that can be set: fields of a struct are, and its unexported ones come along.
func (c copier) into(to, from reflect.Value) {
	if plain(from.Type()) {
		to.Set(from)
		return
	}
	switch from.Kind() {
	case reflect.Struct:
		to.Set(from)
		for i := 0; i < to.NumField(); i++ {
			field := to.Field(i)
			if !field.CanSet() {
				if !strings.Contains(from.Type().PkgPath(), "/kin-openapi/") {
					continue
				}
				field = reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem() // openapi3.Paths keeps its map so
			}
			field.Set(c.value(field))
		}
	case reflect.Slice:
		if from.IsNil() {
			to.Set(from)
			return
		}
		to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
		c.each(to, from)
	case reflect.Array:
		c.each(to, from)
	case reflect.Interface:
		if from.IsNil() {
			to.Set(from)
			return
		}
		to.Set(c.value(from.Elem()))
	default:
		to.Set(c.value(from))
	}
}

func (c copier) each(to, from reflect.Value) {
	if plain(from.Type().Elem()) {
		reflect.Copy(to, from)
		return
	}
	for i := 0; i < from.Len(); i++ {
		c.into(to.Index(i), from.Index(i))
	}
}

var judged sync.Map // of reflect.Type: whether a value of it can be shared

// plain tells whether values of a type refer to nothing that can be changed.
func plain(t reflect.Type) bool {
	if is, found := judged.Load(t); found {
		return is.(bool)
	}
	is := false
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		is = t.Kind() == reflect.Pointer && opaque(t.Elem())
	case reflect.Array:
		is = plain(t.Elem())
	case reflect.Struct:
		is = true
		for i := 0; i < t.NumField() && is && !opaque(t); i++ {
			is = plain(t.Field(i).Type)
		}
	default:
		is = true // functions and channels, too
	}
	judged.Store(t, is)
	return is
}

// opaque tells whether a type looks after itself: time.Time, regexp.Regexp, sync's.
func opaque(t reflect.Type) bool {
	switch t.PkgPath() {
	case "time", "regexp", "sync", "sync/atomic", "net/url":
		return t.Kind() == reflect.Struct
	}
	return false
}
