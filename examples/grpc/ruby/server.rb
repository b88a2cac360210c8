# A library's door as a gRPC plugin server in Ruby; examples/grpc/README.md tells what it does.
# frozen_string_literal: true

$LOAD_PATH.unshift File.join(__dir__, "lib")
$stdout.sync = true

require "json"
require "coprocess_object_services_pb"

CARDS = { "L-1815" => "Ada", "L-1906" => "Grace" }.freeze

class Library < Coprocess::Dispatcher::Service
  HOOKS = %w[tidy check_card stamp].freeze

  def dispatch(object, _call)
    name = object.hook_name
    raise GRPC::NotFound, "there is no hook \"#{name}\" here" unless HOOKS.include?(name)

    send(name, object)
    object
  end

  def dispatch_event(event, _call)
    news = JSON.parse(event.payload)
    name = news["handler_name"]
    raise GRPC::NotFound, "there is no event handler \"#{name}\" here" unless name == "on_stranger"

    on_stranger(news)
    Coprocess::EventReply.new
  end

  private

  def tidy(object)
    request = object.request
    request.set_headers["X-Plugin"] = "library"
    return unless request.params.has_key?("q")

    request.delete_params << "q"
    request.add_params["query"] = request.params["q"]
  end

  def check_card(object)
    card = object.request.headers["X-Library-Card"]
    reader = CARDS[card]
    unless reader
      object.request.return_overrides = Coprocess::ReturnOverrides.new(
        response_code: 401,
        response_error: "Please show your library card",
        headers: { "WWW-Authenticate" => "LibraryCard" }
      )
      return
    end

    session = object.session ||= Coprocess::SessionState.new
    session.alias = reader
    session.tags << "reader"
    session.metadata["token"] = card
    session.metadata["reader"] = reader
  end

  def stamp(object)
    reader = (object.session && object.session.metadata["reader"]) || "nobody"
    response = object.response
    response.headers["X-Reader"] = reader
    response.raw_body += "Read by #{reader}.\n".b
  end

  def on_stranger(news)
    puts "a stranger: #{news.dig("message", "Type")} in #{news.dig("spec", "APIID")}"
  end
end

# A call that finds no free thread is refused: have as many as the gateway has calls at a time (its max_in_flight).
server = GRPC::RpcServer.new(pool_size: 256)
port = server.add_http2_port("127.0.0.1:#{ARGV.fetch(0, 5555)}", :this_port_is_insecure)
server.handle(Library.new)
puts "serving tcp://127.0.0.1:#{port}"
server.run_till_terminated_or_interrupted(%w[TERM INT])
