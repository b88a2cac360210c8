// A library's door as a gRPC plugin server in Java; examples/grpc/README.md tells what it does.

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import coprocess.CoprocessObject.Event;
import coprocess.CoprocessObject.EventReply;
import coprocess.CoprocessObject.Object;
import coprocess.DispatcherGrpc.DispatcherImplBase;
import io.grpc.InsecureServerCredentials;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;

public final class Library extends DispatcherImplBase {
    private static final Map<String, String> CARDS = Map.of("L-1815", "Ada", "L-1906", "Grace");

    private static final Map<String, UnaryOperator<Object.Builder>> HOOKS =
            Map.of("tidy", Library::tidy, "check_card", Library::checkCard, "stamp", Library::stamp);

    @Override
    public void dispatch(Object object, StreamObserver<Object> reply) {
        var hook = HOOKS.get(object.getHookName());
        if (hook == null) {
            reply.onError(notThere("hook", object.getHookName()));
            return;
        }
        reply.onNext(hook.apply(object.toBuilder()).build());
        reply.onCompleted();
    }

    @Override
    public void dispatchEvent(Event event, StreamObserver<EventReply> reply) {
        var news = JsonParser.parseString(event.getPayload()).getAsJsonObject();
        var name = news.get("handler_name").getAsString();
        if (!name.equals("on_stranger")) {
            reply.onError(notThere("event handler", name));
            return;
        }
        onStranger(news);
        reply.onNext(EventReply.getDefaultInstance());
        reply.onCompleted();
    }

    private static StatusRuntimeException notThere(String what, String name) {
        return Status.NOT_FOUND
                .withDescription("there is no " + what + " \"" + name + "\" here")
                .asRuntimeException();
    }

    private static Object.Builder tidy(Object.Builder object) {
        var request = object.getRequestBuilder();
        request.putSetHeaders("X-Plugin", "library");
        if (request.containsParams("q")) {
            request.addDeleteParams("q");
            request.putAddParams("query", request.getParamsOrThrow("q"));
        }
        return object;
    }

    private static Object.Builder checkCard(Object.Builder object) {
        var card = object.getRequest().getHeadersOrDefault("X-Library-Card", "");
        var reader = CARDS.get(card);
        if (reader == null) {
            object.getRequestBuilder().getReturnOverridesBuilder()
                    .setResponseCode(401)
                    .setResponseError("Please show your library card")
                    .putHeaders("WWW-Authenticate", "LibraryCard");
            return object;
        }
        object.getSessionBuilder()
                .setAlias(reader)
                .addTags("reader")
                .putMetadata("token", card)
                .putMetadata("reader", reader);
        return object;
    }

    private static Object.Builder stamp(Object.Builder object) {
        var reader = object.getSession().getMetadataOrDefault("reader", "nobody");
        var response = object.getResponseBuilder();
        response.putHeaders("X-Reader", reader);
        response.setRawBody(response.getRawBody().concat(ByteString.copyFromUtf8("Read by " + reader + ".\n")));
        return object;
    }

    private static void onStranger(JsonObject news) {
        var type = news.getAsJsonObject("message").get("Type").getAsString();
        var api = news.getAsJsonObject("spec").get("APIID").getAsString();
        System.out.println("a stranger: " + type + " in " + api);
    }

    public static void main(String[] arguments) throws Exception {
        int port = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 5555;
        var address = new InetSocketAddress("127.0.0.1", port);
        var server = NettyServerBuilder.forAddress(address, InsecureServerCredentials.create())
                .addService(new Library())
                .build()
                .start();
        System.out.println("serving tcp://127.0.0.1:" + server.getPort());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            server.shutdown();
            try {
                server.awaitTermination(10, TimeUnit.SECONDS);
            } catch (InterruptedException error) {
                server.shutdownNow();
            }
        }));
        server.awaitTermination();
    }
}
