"""Loops that stay inside Java: method handles put together here and run there, in Java's own threads.

A call from Python into Java costs about a microsecond, and a thousand hits of a thousand topics are a million of them.
A method handle is a typed reference to a Java method; handles can be bound to arguments, chained, and stand in for
Java's functional interfaces, so that Java's streams do the looping. There is no Java code of ours, and nothing in
Java calls Python. A handle is best made once and used often: Java compiles it as it runs.
"""

from __future__ import annotations

from typing import Any

from expandr_ir.jvm import java_class


def method(owner: str, name: str, descriptor: str) -> Any:
    """A handle to a method of objects; its first parameter is the object.

    Args:
        owner: full name of the class.
        name: the method.
        descriptor: parameters and result as class files spell them, such as "(I)Ljava/lang/String;".
    """
    return _lookup().findVirtual(_class(owner), name, _type(descriptor))


def static_method(owner: str, name: str, descriptor: str) -> Any:
    """A handle to a static method; the arguments are those of `method`."""
    return _lookup().findStatic(_class(owner), name, _type(descriptor))


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
    return call(chain(bind(make, 0, _class(interface)), bind(insert, 0, handle, position)), step)


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


def parallel_map(step: Any, items: Any, threads: int) -> Any:
    """The Java list of what a handle of one parameter makes of each item, in the items' order.

    Args:
        step: the handle.
        items: a Java collection.
        threads: Java threads that share the items.

    Raises:
        JavaException: what the handle threw.
    """
    stream = method("java.util.Collection", "parallelStream", "()Ljava/util/stream/Stream;")
    mapped = method("java.util.stream.Stream", "map", "(Ljava/util/function/Function;)Ljava/util/stream/Stream;")
    gathered = method("java.util.stream.Stream", "toList", "()Ljava/util/List;")
    task = bind(chain(stream, bind_function(mapped, 1, "java.util.function.Function", step), gathered), 0, items)
    submit = method(
        "java.util.concurrent.ForkJoinPool",
        "submit",
        "(Ljava/util/concurrent/Callable;)Ljava/util/concurrent/ForkJoinTask;",
    )
    # A parallel stream that a thread of a pool starts runs in that pool.
    pool = java_class("java.util.concurrent.ForkJoinPool")(threads)
    try:
        return call(bind_function(submit, 1, "java.util.concurrent.Callable", task), pool).get()
    finally:
        pool.shutdown()


def _boxed(values: tuple[Any, ...]) -> list[Any]:
    return [java_class("java.lang.Integer")(value) if isinstance(value, int) else value for value in values]


def _handles() -> Any:
    return java_class("java.lang.invoke.MethodHandles")


def _lookup() -> Any:
    # publicLookup() does not find asInterfaceInstance before Java 24, and lookup() fails where Python is the caller.
    return java_class("java.lang.invoke.MethodHandles$Lookup").IMPL_LOOKUP


def _class(name: str) -> Any:
    return java_class("java.lang.Class").forName(name)


def _type(descriptor: str) -> Any:
    return java_class("java.lang.invoke.MethodType").fromMethodDescriptorString(descriptor, None)
