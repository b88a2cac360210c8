// A library's door as a gRPC plugin server in Go; examples/grpc/README.md tells what it does.
package main

//go:generate ./generate.sh

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.org/library/coprocess"
)

var cards = map[string]string{"L-1815": "Ada", "L-1906": "Grace"}

var hooks = map[string]func(*coprocess.Object){"tidy": tidy, "check_card": checkCard, "stamp": stamp}

type library struct {
	coprocess.UnimplementedDispatcherServer
}

func (library) Dispatch(_ context.Context, object *coprocess.Object) (*coprocess.Object, error) {
	hook, ok := hooks[object.HookName]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "there is no hook %q here", object.HookName)
	}
	hook(object)
	return object, nil
}

func (library) DispatchEvent(_ context.Context, event *coprocess.Event) (*coprocess.EventReply, error) {
	var news news
	if err := json.Unmarshal([]byte(event.Payload), &news); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if news.HandlerName != "on_stranger" {
		return nil, status.Errorf(codes.NotFound, "there is no event handler %q here", news.HandlerName)
	}
	onStranger(news)
	return &coprocess.EventReply{}, nil
}

func tidy(object *coprocess.Object) {
	request := object.Request
	set(&request.SetHeaders, "X-Plugin", "library")
	if value, ok := request.Params["q"]; ok {
		request.DeleteParams = append(request.DeleteParams, "q")
		set(&request.AddParams, "query", value)
	}
}

func checkCard(object *coprocess.Object) {
	card := object.Request.Headers["X-Library-Card"]
	reader, ok := cards[card]
	if !ok {
		object.Request.ReturnOverrides = &coprocess.ReturnOverrides{
			ResponseCode:  401,
			ResponseError: "Please show your library card",
			Headers:       map[string]string{"WWW-Authenticate": "LibraryCard"},
		}
		return
	}
	if object.Session == nil {
		object.Session = &coprocess.SessionState{}
	}
	session := object.Session
	session.Alias = reader
	session.Tags = append(session.Tags, "reader")
	set(&session.Metadata, "token", card)
	set(&session.Metadata, "reader", reader)
}

func stamp(object *coprocess.Object) {
	reader, ok := object.GetSession().GetMetadata()["reader"]
	if !ok {
		reader = "nobody"
	}
	response := object.Response
	set(&response.Headers, "X-Reader", reader)
	response.RawBody = append(response.RawBody, "Read by "+reader+".\n"...)
}

type news struct {
	HandlerName string `json:"handler_name"`
	Message     struct{ Type string }
	Spec        struct{ APIID string }
}

func onStranger(news news) {
	fmt.Printf("a stranger: %s in %s\n", news.Message.Type, news.Spec.APIID)
}

// set puts an entry into a map that may not have been made: an empty one is nil in a message.
func set(entries *map[string]string, key, value string) {
	if *entries == nil {
		*entries = map[string]string{}
	}
	(*entries)[key] = value
}

func main() {
	port := "5555"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	coprocess.RegisterDispatcherServer(server, library{})
	ended, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ended, server.GracefulStop)
	fmt.Printf("serving tcp://%s\n", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
