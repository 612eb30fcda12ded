"""What the cases of all sections are made of: elements of 16 bytes, and collections of them made in pipelines."""
from servers import Pipe, encode


def element(index):
    return b"element:%08d" % index


def value(index):
    return b"value:%010d" % index


# By type: the command that adds, and what an element takes as arguments.
TYPES = {
    "hash": ("HSET", lambda index: [element(index), value(index)]),
    "set": ("SADD", lambda index: [element(index)]),
    "list": ("RPUSH", lambda index: [element(index)]),
    # Scores spread over 30 bits: a multiplication by an odd number gives no two elements the same.
    "sorted set": ("ZADD", lambda index: [index * 0x2545F491 % (1 << 30), element(index)]),
}


def filling(kind, key, indices):
    """Requests that add the elements of `indices` to `key`, 50 at a time."""
    if kind == "stream":
        return [encode("XADD", key, "*", element(index), value(index)) for index in indices]
    command, arguments = TYPES[kind]
    requests = []
    for start in range(0, len(indices), 50):
        words = [command, key]
        for index in indices[start:start + 50]:
            words += arguments(index)
        requests.append(encode(*words))
    return requests


def send(server, requests):
    Pipe(server).send(requests)
