// SPDX-License-Identifier: Apache-2.0

//! The iceoryx2 server: receives requests, reads them in place, answers in loaned memory. It polls
//! (--wait poll), or sleeps in a listener until a client has notified it (--wait event).

mod meeting;

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use iceoryx2::active_request::ActiveRequest;
use iceoryx2::node::Node;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::server::Server;
use iceoryx2::prelude::{AllocationStrategy, CallbackProgression, PortFactory};

use meeting::{calls, die, events, node, Calls, Header, Kind, ANSWER_BYTES_MAX, DEPTHS, SLEEP_MAX};

const BLOCK_BYTES: usize = 64;
const PATTERN_BYTES: usize = 4096;
const REQUEST_BYTES_MAX: usize = 16 << 20;

static END: AtomicBool = AtomicBool::new(false);

extern "C" fn end(_signal: i32) {
    END.store(true, Ordering::Relaxed);
}

/// What driver/work.h says of a server.
struct Work {
    pattern: Vec<u8>,
    iterations: u64,
}

impl Work {
    fn new(iterations: u64) -> Self {
        let byte = |at: usize| match at % BLOCK_BYTES {
            0 => (at / BLOCK_BYTES) as u8,
            _ => (at * 131 + (at >> 6) * 17) as u8,
        };
        let page: Vec<u8> = (0..PATTERN_BYTES).map(byte).collect();
        Work { pattern: page.repeat(REQUEST_BYTES_MAX / PATTERN_BYTES + 1), iterations }
    }

    /// The part of a request that is its answer, after reading each byte.
    fn answer<'a>(&self, request: &'a [u8]) -> &'a [u8] {
        if self.iterations > 0 {
            compute(self.iterations);
        }
        if request.len() <= ANSWER_BYTES_MAX {
            return request;
        }
        let begin = request[0] as usize * BLOCK_BYTES;
        if self.pattern.get(begin..begin + request.len()) != Some(request) {
            die("a request is not of the pattern");
        }
        &request[..ANSWER_BYTES_MAX]
    }
}

/// work_compute.
fn compute(iterations: u64) {
    let mut value: u64 = 88172645463325252;
    for _ in 0..iterations {
        value ^= value << 13;
        value ^= value >> 7;
    }
    black_box(value);
}

/// How the server waits, and how it wakes a client that has an answer.
trait Waiting: Sized {
    type Header: Header;
    /// How often in a row the server finds nothing before it waits, looks for clients and whether
    /// to end.
    const POLLS_PER_WAIT: u32;
    fn open(node: &Node<Kind>, at: &str) -> Self;
    fn wait(&self);
    fn wake(&self, header: &Self::Header);
}

struct Polling;

impl Waiting for Polling {
    type Header = ();
    const POLLS_PER_WAIT: u32 = 4096;
    fn open(_node: &Node<Kind>, _at: &str) -> Self {
        Polling
    }
    fn wait(&self) {}
    fn wake(&self, _header: &()) {}
}

struct Events {
    listener: Listener<Kind>,
    notifier: Notifier<Kind>,
}

impl Waiting for Events {
    type Header = u128;
    const POLLS_PER_WAIT: u32 = 1;
    fn open(node: &Node<Kind>, at: &str) -> Self {
        let listener = events(node, at, "server").listener_builder().create();
        let notifier = events(node, at, "client").notifier_builder().create();
        Events {
            listener: listener.unwrap_or_else(|e| die(&format!("cannot listen: {e:?}"))),
            notifier: notifier.unwrap_or_else(|e| die(&format!("cannot notify: {e:?}"))),
        }
    }
    fn wait(&self) {
        // An error is the signal that ends the server; the caller looks.
        let _ = self.listener.timed_wait(|_| {}, SLEEP_MAX);
    }
    fn wake(&self, header: &u128) {
        self.notifier.for_each_listener(|one, details| {
            if details.listener_id.value() != *header {
                return CallbackProgression::Continue;
            }
            let _ = one.notify(); // a client that has left needs no answer
            CallbackProgression::Stop
        });
    }
}

fn answer<H: Header>(work: &Work, request: &ActiveRequest<Kind, [u8], H, [u8], ()>) {
    let answer = work.answer(request.payload());
    let loan = request.loan_slice_uninit(answer.len());
    let loan = loan.unwrap_or_else(|error| die(&format!("cannot loan: {error:?}")));
    if let Err(error) = loan.write_from_slice(answer).send() {
        die(&format!("cannot answer: {error:?}"));
    }
}

/// The server of one of the services.
struct Lane<H: Header> {
    calls: Calls<H>,
    server: Server<Kind, [u8], H, [u8], ()>,
    has_clients: bool,
}

impl<H: Header> Lane<H> {
    fn open(node: &Node<Kind>, at: &str, depth: usize) -> Self {
        let calls = calls::<H>(node, at, depth);
        let server = calls
            .server_builder()
            .initial_max_slice_len(ANSWER_BYTES_MAX)
            .allocation_strategy(AllocationStrategy::Static)
            .create()
            .unwrap_or_else(|error| die(&format!("cannot create the server: {error:?}")));
        Lane { calls, server, has_clients: false }
    }

    fn receive(&self) -> Option<ActiveRequest<Kind, [u8], H, [u8], ()>> {
        self.server.receive().unwrap_or_else(|error| die(&format!("cannot receive: {error:?}")))
    }
}

fn serve<W: Waiting>(at: &str, work: &Work) {
    let node = node();
    let waiting = W::open(&node, at);
    let mut lanes = DEPTHS.map(|depth| Lane::<W::Header>::open(&node, at, depth));
    let mut polls = 0; // in a row, and nothing was there
    println!("ready");
    while !END.load(Ordering::Relaxed) {
        waiting.wait();
        for lane in &mut lanes {
            lane.has_clients = lane.calls.dynamic_config().number_of_clients() > 0;
        }
        while polls < W::POLLS_PER_WAIT {
            polls += 1;
            for lane in lanes.iter().filter(|lane| lane.has_clients) {
                if let Some(request) = lane.receive() {
                    answer(work, &request);
                    waiting.wake(request.user_header());
                    polls = 0;
                }
            }
        }
        polls = 0;
    }
}

/// Ends this process with SIGTERM, so that it removes its shared memory, also when its parent ends.
fn prepare(cpu: Option<usize>) {
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = end as *const () as usize;
        libc::sigaction(libc::SIGTERM, &action, core::ptr::null_mut());
        let Some(cpu) = cpu else { return };
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        if libc::sched_setaffinity(0, size_of_val(&set), &set) != 0 {
            die(&format!("cannot run on CPU {cpu}"));
        }
    }
}

fn main() {
    let (mut at, mut wait) = (String::new(), String::new());
    let (mut cpu, mut iterations) = (None, 0);
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        match name.as_str() {
            "--at" => at = value,
            "--wait" => wait = value,
            "--cpu" => cpu = value.parse().ok(), // -1: not pinned
            "--compute" => iterations = value.parse().unwrap_or_else(|_| die("--compute N")),
            _ => die(&format!("unknown argument {name}")),
        }
    }
    prepare(cpu);
    let work = Work::new(iterations);
    match wait.as_str() {
        "poll" => serve::<Polling>(&at, &work),
        "event" => serve::<Events>(&at, &work),
        _ => die("--wait is poll or event"),
    }
}
