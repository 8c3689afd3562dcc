use super::*;

fn key<'a>(thread: &'a str, tool: &'a str, arguments: &[u8]) -> LoopKey<'a> {
    LoopKey {
        tenant: "acme",
        agent: "support",
        thread,
        tool,
        arguments: Digest::of(arguments),
    }
}
