"""Loops that stay inside Java: method handles put together here and run there, in Java's own threads.

A call from Python into Java costs about a microsecond, and a thousand hits of a thousand topics are a million of them.
A method handle is a typed reference to a Java method; handles can be bound to arguments, chained, and stand in for
Java's functional interfaces, so that Java's streams do the looping. There is no Java code of ours, and nothing in
Java calls Python. A handle is best made once and used often: Java compiles it as it runs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from expandr_ir.jvm import java_class


@cache
def method(owner: str, name: str, descriptor: str) -> Any:
    """A handle to a method of objects; its first parameter is the object.

    Args:
        owner: full name of the class.
        name: the method.
        descriptor: parameters and result as class files spell them, such as "(I)Ljava/lang/String;".
    """
    return _lookup().findVirtual(_class(owner), name, _type(descriptor))


@cache
def static_method(owner: str, name: str, descriptor: str) -> Any:
    """A handle to a static method; the arguments are those of `method`."""
    return _lookup().findStatic(_class(owner), name, _type(descriptor))


@cache
def getter(owner: str, field: str) -> Any:
    """A handle that reads a public field of the object it is given."""
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
        given, result = (cast("java.lang.Class", each.type().returnType()) for each in (first, following))
        wanted = java_class("java.lang.invoke.MethodType").methodType(result, given)
        first = _handles().filterReturnValue(first, following.asType(wanted))
    return first


def call(handle: Any, *values: Any) -> Any:
    """What the handle returns for these arguments."""
    return handle.invokeWithArguments(java_class("java.util.Arrays").asList(*_boxed(values)))


def mapper(step: Any) -> Any:
    """A handle from a Java collection to the Java list of what `step` makes of each item, in the items' order."""
    stream = method("java.util.Collection", "parallelStream", "()Ljava/util/stream/Stream;")
    mapped = method("java.util.stream.Stream", "map", "(Ljava/util/function/Function;)Ljava/util/stream/Stream;")
    gathered = method("java.util.stream.Stream", "toList", "()Ljava/util/List;")
    return chain(stream, bind_function(mapped, 1, "java.util.function.Function", step), gathered)


def run_in_threads(handle: Any, value: Any, threads: int) -> Any:
    """What a handle of one parameter, such as a mapper, returns for a value, run in that many Java threads.

    Raises:
        JavaException: what the handle threw.
    """
    submit = method(
        "java.util.concurrent.ForkJoinPool",
        "submit",
        "(Ljava/util/concurrent/Callable;)Ljava/util/concurrent/ForkJoinTask;",
    )
    # A parallel stream that a thread of a pool starts runs in that pool.
    pool = java_class("java.util.concurrent.ForkJoinPool")(threads)
    try:
        return call(bind_function(submit, 1, "java.util.concurrent.Callable", bind(handle, 0, value)), pool).get()
    finally:
        pool.shutdown()


@cache
def _binder() -> Any:
    """A handle that binds, for `bind_function`: (handle, position, interface, step) to the bound handle."""
    make = static_method(
        "java.lang.invoke.MethodHandleProxies",
        "asInterfaceInstance",
        "(Ljava/lang/Class;Ljava/lang/invoke/MethodHandle;)Ljava/lang/Object;",
    )
    insert = static_method(
        "java.lang.invoke.MethodHandles",
        "insertArguments",
        "(Ljava/lang/invoke/MethodHandle;I[Ljava/lang/Object;)Ljava/lang/invoke/MethodHandle;",
    ).asCollector(_class("[Ljava.lang.Object;"), 1)
    return _handles().collectArguments(insert, 2, make)


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
