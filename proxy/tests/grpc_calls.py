#!/usr/bin/env python3
"""gRPC calls of all four kinds by the real library, through a proxy, to a service of the real library.

Prints the service's port, reads the proxy's, then prints what became of each call, as JSON, a line a call.
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

cancelled = threading.Event()


class Echo(grpc.GenericRpcHandler):
    """Messages are bytes as they are: no generated code is needed."""

    def service(self, details):
        method = details.method.rsplit("/", 1)[-1]
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "List": grpc.unary_stream_rpc_method_handler(self.list),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
        }.get(method)

    def unary(self, request, context):
        metadata = dict(context.invocation_metadata())
        context.send_initial_metadata([("x-head", metadata.get("x-meta", ""))])
        context.set_trailing_metadata([("x-tail", "t")])
        return request

    def list(self, request, context):
        for word in request.split():
            yield word

    def join(self, requests, context):
        return b"+".join(requests)

    def talk(self, requests, context):
        for request in requests:
            yield request.upper()

    def fail(self, request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "not here: 100 %")

    def slow(self, request, context):
        context.add_callback(cancelled.set)
        for _ in range(100):
            if not context.is_active():
                break
            time.sleep(0.1)
        return request


def outcome(call):
    begin = time.monotonic()
    try:
        result = call()
    except grpc.RpcError as error:
        result = {"code": error.code().name, "details": error.details()}
    result["seconds"] = round(time.monotonic() - begin, 2)
    return result


def talk(channel):
    """Each message waits for the answer to the one before."""
    turn, said = threading.Semaphore(1), []

    def messages():
        for word in (b"a", b"b", b"c"):
            turn.acquire()
            yield word

    for answer in channel.stream_stream("/echo.Echo/Talk")(messages(), timeout=10):
        said.append(answer.decode())
        turn.release()
    return {"said": said}


def unary(channel):
    answer, call = channel.unary_unary("/echo.Echo/Unary").with_call(b"hello", metadata=[("x-meta", "m")], timeout=10)
    return {
        "answer": answer.decode(),
        "head": dict(call.initial_metadata()).get("x-head"),
        "tail": dict(call.trailing_metadata()).get("x-tail"),
    }


def main():
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Echo(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    proxy = int(sys.stdin.readline())
    big = b"x" * 3_000_000
    with grpc.insecure_channel(f"127.0.0.1:{proxy}") as channel:
        calls = {
            "unary": lambda: unary(channel),
            "list": lambda: {"said": [it.decode() for it in channel.unary_stream("/echo.Echo/List")(b"a b c", timeout=10)]},
            "join": lambda: {"answer": channel.stream_unary("/echo.Echo/Join")(iter([b"a", b"b"]), timeout=10).decode()},
            "talk": lambda: talk(channel),
            "large": lambda: {"same": channel.unary_unary("/echo.Echo/Unary")(big, timeout=20) == big},
            "fail": lambda: channel.unary_unary("/echo.Echo/Fail")(b"", timeout=10),
            "unknown": lambda: channel.unary_unary("/echo.Echo/None")(b"", timeout=10),
            "slow": lambda: channel.unary_unary("/echo.Echo/Slow")(b"", timeout=0.5),
            "down": lambda: channel.unary_unary("/down.Down/Call")(b"", timeout=10),
        }
        for name, call in calls.items():
            print(json.dumps({"call": name, **outcome(call)}), flush=True)
    print(json.dumps({"call": "cancelled", "seen": cancelled.wait(5)}), flush=True)
    server.stop(0)


if __name__ == "__main__":
    main()
