// One connection of the metrics server: GET and HEAD, one answer for each request, in order.
//
// Threads: the channel's event loop. NIO's pipeline handler holds back pipelined requests until the answer is written.

import NIOCore
import NIOHTTP1

final class MetricsHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let page: (Substring) -> MetricsPage?
    private var head: HTTPRequestHead?

    init(page: @escaping (Substring) -> MetricsPage?) { self.page = page }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head else { return }
            self.head = nil
            answer(head, context)
        }
    }

    private func answer(_ request: HTTPRequestHead, _ context: ChannelHandlerContext) {
        var headers = HTTPHeaders()
        var answer: MetricsPage
        if request.method != .GET, request.method != .HEAD {
            answer = MetricsPage(status: .methodNotAllowed, text: "only GET and HEAD\n")
            headers.add(name: "Allow", value: "GET, HEAD")
        } else {
            // What stands behind a question mark is nobody's.
            let path = request.uri.prefix { $0 != "?" }
            answer = page(path) ?? MetricsPage(status: .notFound, text: "there are /metrics and /healthz\n")
        }
        headers.add(name: "Content-Type", value: answer.type)
        headers.add(name: "Content-Length", value: String(answer.body.count))
        headers.add(name: "Cache-Control", value: "no-store")
        if !request.isKeepAlive { headers.add(name: "Connection", value: "close") }
        let head = HTTPResponseHead(version: request.version, status: answer.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if request.method != .HEAD {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer.body)))), promise: nil)
        }
        let channel = context.channel
        let promise = request.isKeepAlive ? nil : context.eventLoop.makePromise(of: Void.self)
        promise?.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: promise)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent { return context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
