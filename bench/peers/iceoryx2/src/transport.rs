// SPDX-License-Identifier: Apache-2.0

//! The driver's transport over iceoryx2's request-response: requests are loaned, filled in place
//! and sent; answers are read in place. It polls (option "poll"), or sleeps in a listener until
//! the server has notified it (option "event"). As in iceoryx2's own benchmark, the memory for the
//! next request is loaned right after a request was sent, while the server is at work.

mod meeting;

use core::ffi::{c_char, CStr};
use core::mem::MaybeUninit;

use iceoryx2::node::Node;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::AllocationStrategy;
use iceoryx2::request_mut_uninit::RequestMutUninit;

use meeting::{calls, die, events, node, Header, Kind, ANSWER_BYTES_MAX, DEPTHS, SLEEP_MAX};

const BLOCK_BYTES: usize = 64;
const PATTERN_BYTES: usize = 4096;
const DEPTH_MAX: usize = DEPTHS[DEPTHS.len() - 1];

extern "C" {
    /// work.h's pattern; `work_prepare` has made it before `transport_open` is called.
    static work_pattern: *const u8;
}

/// The first `bytes` bytes of request `sequence`.
fn request(sequence: u64, bytes: usize) -> &'static [u8] {
    let block = sequence as usize % (PATTERN_BYTES / BLOCK_BYTES);
    unsafe { core::slice::from_raw_parts(work_pattern.add(block * BLOCK_BYTES), bytes) }
}

#[repr(C)]
pub struct TransportConfig {
    at: *const c_char,
    option: *const c_char,
    bytes_max: usize,
    depth_max: u32,
}

/// How a client waits: a header that tells the server whom to wake, and what it does with that.
trait Waiting: Sized {
    type Header: Header;
    fn open(node: &Node<Kind>, at: &str) -> Self;
    fn header(&self) -> Self::Header;
    fn sent(&self);
    fn wait(&self);
}

struct Polling;

impl Waiting for Polling {
    type Header = ();
    fn open(_node: &Node<Kind>, _at: &str) -> Self {
        Polling
    }
    fn header(&self) {}
    fn sent(&self) {}
    fn wait(&self) {}
}

struct Events {
    listener: Listener<Kind>,
    notifier: Notifier<Kind>,
}

impl Waiting for Events {
    type Header = u128;
    fn open(node: &Node<Kind>, at: &str) -> Self {
        let listener = events(node, at, "client").listener_builder().create();
        let notifier = events(node, at, "server").notifier_builder().create();
        Events {
            listener: listener.unwrap_or_else(|e| die(&format!("cannot listen: {e:?}"))),
            notifier: notifier.unwrap_or_else(|e| die(&format!("cannot notify: {e:?}"))),
        }
    }
    fn header(&self) -> u128 {
        self.listener.id().value()
    }
    fn sent(&self) {
        if let Err(error) = self.notifier.notify() {
            die(&format!("cannot notify the server: {error:?}"));
        }
    }
    fn wait(&self) {
        if let Err(error) = self.listener.timed_wait(|_| {}, SLEEP_MAX) {
            die(&format!("cannot wait: {error:?}"));
        }
    }
}

type Loan<H> = RequestMutUninit<Kind, [MaybeUninit<u8>], H, [u8], ()>;

struct InFlight<W: Waiting> {
    pending: PendingResponse<Kind, [u8], W::Header, [u8], ()>,
    bytes: usize,
}

/// One connection. Fields are dropped in this order, the node last.
struct Connection<W: Waiting> {
    next: Option<(usize, Loan<W::Header>)>,
    in_flight: [Option<InFlight<W>>; DEPTH_MAX],
    client: Client<Kind, [u8], W::Header, [u8], ()>,
    waiting: W,
    depth: u32,
    taken: u64,
    _node: Node<Kind>,
}

/// What the driver calls, whichever the way of waiting.
trait Transport {
    fn depth(&self) -> u32;
    fn send(&mut self, bytes: usize, sequence: u64);
    fn receive(&mut self, wait: bool) -> u64;
}

impl<W: Waiting> Connection<W> {
    fn open(at: &str, config: &TransportConfig) -> Self {
        let node = node();
        let depth = (config.depth_max as usize).clamp(1, DEPTH_MAX);
        let enough = DEPTHS.into_iter().find(|&most| most >= depth).unwrap_or(DEPTH_MAX);
        let waiting = W::open(&node, at);
        let client = calls::<W::Header>(&node, at, enough)
            .client_builder()
            .initial_max_slice_len(config.bytes_max.max(1))
            .allocation_strategy(AllocationStrategy::Static)
            .max_active_requests(depth)
            .create()
            .unwrap_or_else(|error| die(&format!("cannot create a client: {error:?}")));
        let in_flight = [const { None }; DEPTH_MAX];
        let depth = depth as u32;
        Connection { next: None, in_flight, client, waiting, depth, taken: 0, _node: node }
    }

    fn loan(&self, bytes: usize) -> Loan<W::Header> {
        let loan = self.client.loan_slice_uninit(bytes);
        loan.unwrap_or_else(|error| die(&format!("cannot loan: {error:?}")))
    }

    fn take_loan(&mut self, bytes: usize) -> Loan<W::Header> {
        match self.next.take() {
            Some((length, loan)) if length == bytes => loan,
            other => {
                drop(other); // gives it back
                self.loan(bytes)
            }
        }
    }
}

impl<W: Waiting> Transport for Connection<W> {
    fn depth(&self) -> u32 {
        self.depth
    }

    fn send(&mut self, bytes: usize, sequence: u64) {
        let mut loan = self.take_loan(bytes);
        let out = loan.payload_mut().as_mut_ptr().cast::<u8>();
        unsafe { copy(request(sequence, bytes), out) };
        *loan.user_header_mut() = self.waiting.header();
        let sent = unsafe { loan.assume_init() }.send();
        let pending = sent.unwrap_or_else(|error| die(&format!("cannot send: {error:?}")));
        self.in_flight[sequence as usize % DEPTH_MAX] = Some(InFlight { pending, bytes });
        self.waiting.sent();
        self.next = Some((bytes, self.loan(bytes)));
    }

    /// One server answers in the order of the requests, so only the oldest is looked at.
    fn receive(&mut self, wait: bool) -> u64 {
        let sequence = self.taken + 1;
        let slot = &mut self.in_flight[sequence as usize % DEPTH_MAX];
        let Some(oldest) = slot else { die("nothing is in flight") };
        let answer = loop {
            match oldest.pending.receive() {
                Ok(Some(answer)) => break answer,
                Ok(None) if wait => self.waiting.wait(),
                Ok(None) => return 0,
                Err(error) => die(&format!("cannot receive: {error:?}")),
            }
        };
        if answer.payload() != request(sequence, oldest.bytes.min(ANSWER_BYTES_MAX)) {
            die(&format!("a wrong answer to call {sequence}"));
        }
        drop(answer);
        *slot = None;
        self.taken = sequence;
        sequence
    }
}

/// Copies; the usual case without a call of memcpy, as work_fill does.
unsafe fn copy(from: &[u8], to: *mut u8) {
    if from.len() == BLOCK_BYTES {
        to.cast::<[u8; BLOCK_BYTES]>().write(*from.as_ptr().cast());
    } else {
        to.copy_from_nonoverlapping(from.as_ptr(), from.len());
    }
}

/// The driver's `struct transport`: a thin pointer to it is what C gets.
pub struct Opened(Box<dyn Transport>);

/// # Safety
/// `config` is valid.
#[no_mangle]
pub unsafe extern "C" fn transport_open(config: &TransportConfig) -> Box<Opened> {
    let at = CStr::from_ptr(config.at).to_string_lossy();
    Box::new(match CStr::from_ptr(config.option).to_bytes() {
        b"poll" => Opened(Box::new(Connection::<Polling>::open(&at, config))),
        b"event" => Opened(Box::new(Connection::<Events>::open(&at, config))),
        _ => die("option is poll or event"),
    })
}

#[no_mangle]
pub extern "C" fn transport_depth(transport: &Opened) -> u32 {
    transport.0.depth()
}

#[no_mangle]
pub extern "C" fn transport_send(transport: &mut Opened, bytes: usize, sequence: u64) {
    transport.0.send(bytes, sequence);
}

#[no_mangle]
pub extern "C" fn transport_receive(transport: &mut Opened, wait: bool) -> u64 {
    transport.0.receive(wait)
}

#[no_mangle]
pub extern "C" fn transport_close(transport: Box<Opened>) {
    drop(transport);
}
