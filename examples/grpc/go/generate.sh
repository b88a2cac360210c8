#!/bin/sh
# Makes coprocess/ out of the .proto files, with protoc and the plugins that go.mod names.
set -eu
GOBIN=$PWD/bin go install tool
PATH=$PWD/bin:$PATH

# They do not name the Go package that they are to become: both plugins are told.
package=example.org/library/coprocess
cd ../../../proto
set --
for file in coprocess_*.proto; do
    set -- "$@" "--go_opt=M$file=$package" "--go-grpc_opt=M$file=$package" "$file"
done
cd - >/dev/null
exec protoc -I ../../../proto --go_out=. --go_opt=module=example.org/library \
    --go-grpc_out=. --go-grpc_opt=module=example.org/library "$@"
