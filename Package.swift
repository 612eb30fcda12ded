// swift-tools-version: 6.2
import PackageDescription

/// Settings of every Swift target: existentials are spelled out, imports are internal unless said otherwise.
/// With KEDIS_STRICT=1 (scripts/check --full) warnings are errors.
let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ] + (Context.environment["KEDIS_STRICT"] == "1" ? [.treatAllWarnings(as: .error)] : [])

/// The layers of docs/ARCHITECTURE.md: a target may import what its line names and nothing else, so the compiler keeps
/// the arrows pointing down.
func layer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let package = Package(
    name: "kedis",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "kedis", targets: ["KedisCLI"]),
        .library(name: "Kedis", targets: ["Kedis"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .target(name: "CKedis"),
        layer("KedisUtilities", ["CKedis"]),
        layer("KedisProtocol", ["KedisUtilities"]),
        layer("KedisStore", ["KedisUtilities", "CKedis"]),
        layer("KedisFormats", ["KedisStore", "KedisUtilities"]),
        layer("KedisCommands", ["KedisProtocol", "KedisFormats", "KedisStore", "KedisUtilities"]),
        layer(
            "KedisPersistence",
            [
                "CKedis", "KedisFormats", "KedisStore", "KedisUtilities", .product(name: "Crypto", package: "swift-crypto"),
            ]
        ),
        layer("KedisDurability", ["KedisCommands", "KedisPersistence", "KedisStore", "KedisUtilities"]),
        layer(
            "KedisServer",
            [
                "CKedis", "KedisCommands", "KedisPersistence", "KedisDurability", "KedisFormats", "KedisStore", "KedisProtocol",
                "KedisUtilities",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ]
        ),
        layer(
            "Kedis",
            ["KedisCommands", "KedisPersistence", "KedisDurability", "KedisStore", "KedisProtocol", "KedisUtilities"]
        ),
        layer("KedisShell", ["KedisProtocol", "KedisUtilities"]),
        .executableTarget(
            name: "KedisCLI",
            dependencies: [
                "KedisServer", "Kedis", "KedisPersistence", "KedisDurability", "KedisShell", "KedisProtocol", "KedisUtilities",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: settings
        ),
        .target(name: "BenchmarkSupport", path: "Benchmarks/Support"),
        .executableTarget(
            name: "kedis-benchmark",
            dependencies: [
                "CKedis", "Kedis", "KedisCommands", "KedisPersistence", "KedisStore", "KedisProtocol", "KedisUtilities",
                "BenchmarkSupport", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Benchmarks/Embedded",
            swiftSettings: settings
        ),
        .target(
            name: "KedisTestSupport",
            dependencies: ["KedisCommands", "KedisPersistence", "KedisStore", "KedisProtocol", "KedisUtilities"],
            path: "Tests/KedisTestSupport",
            swiftSettings: settings
        ),
        tests("KedisUtilitiesTests", ["KedisUtilities", "KedisTestSupport"]),
        tests("KedisProtocolTests", ["KedisProtocol", "KedisUtilities", "KedisTestSupport"]),
        tests("KedisStoreTests", ["KedisStore", "KedisUtilities", "KedisTestSupport"]),
        tests("KedisFormatsTests", ["KedisFormats", "KedisStore", "KedisUtilities", "KedisTestSupport"]),
        tests(
            "KedisCommandsTests",
            ["KedisCommands", "KedisFormats", "KedisStore", "KedisProtocol", "KedisUtilities", "KedisTestSupport"]
        ),
        tests("KedisPersistenceTests", ["KedisPersistence", "KedisFormats", "KedisStore", "KedisUtilities", "KedisTestSupport"]),
        tests(
            "KedisServerTests",
            [
                "CKedis", "KedisCLI", "KedisServer", "KedisDurability", "KedisCommands", "KedisPersistence", "KedisStore",
                "KedisProtocol", "KedisUtilities", "KedisTestSupport",
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"), .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        tests(
            "KedisTests",
            ["Kedis", "KedisCommands", "KedisDurability", "KedisPersistence", "KedisStore", "KedisTestSupport"]
        ),
        tests("KedisShellTests", ["KedisShell", "KedisProtocol", "KedisUtilities", "KedisTestSupport"]),
        tests("TidyTests", ["KedisTestSupport"]),
    ],
    swiftLanguageModes: [.v6]
)
