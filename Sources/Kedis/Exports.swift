// What users of the library get with `import Kedis` beyond the library's own types: `Reply`, the only public type of
// the protocol's module.

@_exported public import KedisProtocol
