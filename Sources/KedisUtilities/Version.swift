// The versions that Kedis says it has: its own, and that of the Redis whose behaviour it promises.

/// The version of Kedis.
package let kedisVersion: StaticString = "0.1.0"

/// The version of Redis that clients are told: commands, replies and errors are those of this one.
package let redisVersion: StaticString = "7.2.4"
