//! Chat templates of strangers: compiling them, and rendering a conversation with them.
//!
//! What a template builds in its variables is bounded by the process that renders it, not by the engine; here it is
//! bounded by the allocator, and an input that meets that bound is passed over.

#![no_main]
#![feature(alloc_error_hook)]

use std::alloc::{GlobalAlloc, Layout, System, set_alloc_error_hook};
use std::cell::Cell;
use std::panic::catch_unwind;

use hearth_data::template::process::{RenderReply, RenderRequest};
use hearth_data::{ChatTemplate, Conversation, Row, RowContent, SpecialTokens};
use hearth_fuzz::{parts, refused};
use libfuzzer_sys::fuzz_target;

/// Fewer than in use: lists in lists, which take the stack when they are dropped, cannot become deep.
const MAX_INSTRUCTIONS: u64 = 20_000;
const MAX_BYTES: usize = 256 << 20;
/// How the panic of the allocator's hook is told from others.
const OUT_OF_MEMORY: &str = "more memory than is allowed";

#[global_allocator]
static ALLOCATOR: Limited = Limited;

struct Limited;

thread_local! {
    static USED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all memory is the system's; this only counts, and refuses what is beyond the limit.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.get().saturating_add(layout.size());
        if used > MAX_BYTES {
            return std::ptr::null_mut();
        }
        USED.set(used);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.set(USED.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const CONVERSATION: &str = r#"{"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": null}}}],
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
    {"role": "assistant", "content": "", "reasoning_content": "r", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{\"x\": 1.5}"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "t"}, {"role": "assistant", "content": "a"}]}"#;

fuzz_target!(
    init: {
        set_alloc_error_hook(|_| panic!("{OUT_OF_MEMORY}"));
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(OUT_OF_MEMORY) {
                print(info);
            }
        }));
    },
    |input: &[u8]| {
        let parts = parts(input);
        let Ok(source) = std::str::from_utf8(parts[0]) else { return };
        let own = parts.get(1).and_then(|text| std::str::from_utf8(text).ok());
        let Ok(row) = Row::from_text(1, own.unwrap_or(CONVERSATION)) else { return };
        let RowContent::Chat(conversation) = row.content else { return };
        // Only the allocator's panic ends here; the hook ends the process at any other.
        let _ = catch_unwind(|| render(source, &conversation));
    }
);

fn render(source: &str, conversation: &Conversation) {
    let special = SpecialTokens { bos: Some("<s>".into()), eos: Some("</s>".into()), ..Default::default() };
    let mut template = match ChatTemplate::compile(source, &special) {
        Ok(template) => template,
        Err(error) => return refused(error),
    };
    template.set_max_instructions(MAX_INSTRUCTIONS);
    for for_answer in [false, true] {
        if let Err(error) = template.render(&conversation.messages, &conversation.tools, for_answer) {
            refused(error);
        }
    }
    match RenderRequest::for_training(source, &special, conversation).render_with(&template) {
        RenderReply::Turns { turns, .. } => assert!(turns.is_sound()),
        RenderReply::Fault { fault } => refused(fault.at(1)),
        RenderReply::Error { message, .. } => refused(message),
        RenderReply::Rendered { .. } => panic!("turns were asked for"),
    }
}
