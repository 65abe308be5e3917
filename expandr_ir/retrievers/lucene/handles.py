"""Loops that stay inside Java: method handles put together here and run there, in Java's own threads.

A call from Python into Java costs about a microsecond, and a thousand hits of a thousand topics are a million of them.
A method handle is a typed reference to a Java method; handles can be bound to arguments, chained, and stand in for
Java's functional interfaces, so that Java's streams do the looping: 15-23 times as fast as Pyserini's batch_search
(docs/benchmarks.md). There is no Java code of ours, and nothing in Java calls Python. A handle is best made once and
used often: Java compiles it as it runs. Descriptors are spelled as class files do, such as "(I)Ljava/lang/String;".
"""

from __future__ import annotations

from functools import cache
from typing import Any

from expandr_ir.jvm import java_class


@cache
def method(owner: str, name: str, descriptor: str) -> Any:
    """A handle to a method of the class `owner`; its first parameter is the object."""
    return _lookup().findVirtual(_class(owner), name, _type(descriptor))


@cache
def static_method(owner: str, name: str, descriptor: str) -> Any:
    """A handle to a static method of the class `owner`."""
    return _lookup().findStatic(_class(owner), name, _type(descriptor))


@cache
def getter(owner: str, field: str) -> Any:
    """A handle that reads a public field of its parameter."""
    return _lookup().unreflectGetter(_class(owner).getField(field))


def element(position: int) -> Any:
    """A handle that reads one element of an Object[]."""
    return bind(_handles().arrayElementGetter(_class("[Ljava.lang.Object;")), 1, position)


def bind(handle: Any, position: int, *values: Any) -> Any:
    """The handle with its parameters from `position` on fixed to these values."""
    return _handles().insertArguments(handle, position, *_boxed(values))


def bind_function(handle: Any, position: int, interface: str, step: Any) -> Any:
    """The handle with its parameter `position`, a functional interface, fixed to one that calls the handle `step`.

    Java makes the object of that interface and binds it itself: from Java 22 on the object's class is hidden, and
    Python could not hold it.
    """
    return call(_binder(), handle, position, _class(interface), step)


def chain(first: Any, *rest: Any) -> Any:
    """The handle that calls `first`, gives its result to the next one, and so on; types are cast as needed."""
    from jnius import cast

    for following in rest:
        source, result = (cast("java.lang.Class", each.type().returnType()) for each in (first, following))
        signature = java_class("java.lang.invoke.MethodType").methodType(result, source)
        first = _handles().filterReturnValue(first, following.asType(signature))
    return first


def call(handle: Any, *values: Any) -> Any:
    """The handle's result for these arguments."""
    return handle.invokeWithArguments(java_class("java.util.Arrays").asList(*_boxed(values)))


def mapper(step: Any) -> Any:
    """A handle from a Java collection to the Java list of the results of `step`, in the items' order."""
    stream = method("java.util.Collection", "parallelStream", "()Ljava/util/stream/Stream;")
    apply = method("java.util.stream.Stream", "map", "(Ljava/util/function/Function;)Ljava/util/stream/Stream;")
    to_list = method("java.util.stream.Stream", "toList", "()Ljava/util/List;")
    return chain(stream, bind_function(apply, 1, "java.util.function.Function", step), to_list)


def run_in_threads(handle: Any, value: Any, threads: int) -> Any:
    """The result of a handle of a collection, such as a mapper, run in that many Java threads; one item needs none."""
    if value.size() == 1:
        return call(handle, value)
    descriptor = "(Ljava/util/concurrent/Callable;)Ljava/util/concurrent/ForkJoinTask;"
    submit = method("java.util.concurrent.ForkJoinPool", "submit", descriptor)
    # A parallel stream that a thread of a pool starts runs in that pool.
    pool = java_class("java.util.concurrent.ForkJoinPool")(threads)
    try:
        return call(bind_function(submit, 1, "java.util.concurrent.Callable", bind(handle, 0, value)), pool).get()
    finally:
        pool.shutdown()


@cache
def _binder() -> Any:
    """A handle that binds, for `bind_function`: (handle, position, interface, step) to the bound handle."""
    handle, objects = "Ljava/lang/invoke/MethodHandle;", "[Ljava/lang/Object;"
    make = static_method(
        "java.lang.invoke.MethodHandleProxies", "asInterfaceInstance", f"(Ljava/lang/Class;{handle})Ljava/lang/Object;"
    )
    insert = static_method("java.lang.invoke.MethodHandles", "insertArguments", f"({handle}I{objects}){handle}")
    return _handles().collectArguments(insert.asCollector(_class("[Ljava.lang.Object;"), 1), 2, make)


def _boxed(values: tuple[Any, ...]) -> list[Any]:
    return [java_class("java.lang.Integer")(value) if isinstance(value, int) else value for value in values]


@cache
def _handles() -> Any:
    return java_class("java.lang.invoke.MethodHandles")


@cache
def _lookup() -> Any:
    # publicLookup() does not find asInterfaceInstance before Java 24, and lookup() fails where Python is the caller.
    return java_class("java.lang.invoke.MethodHandles$Lookup").IMPL_LOOKUP


@cache
def _class(name: str) -> Any:
    return java_class("java.lang.Class").forName(name)


@cache
def _type(descriptor: str) -> Any:
    return java_class("java.lang.invoke.MethodType").fromMethodDescriptorString(descriptor, None)
