//! Handlers of requests, used again and again. A handler is a future of some kilobytes. A silent connection must not hold one,
//! and to ask the allocator for one with each request costs more than all decisions about it: memory of that size goes back to
//! the system and comes from there again, page by page. So each handler answers one request after the other, whosever they are.

use super::answer::Answer;
use super::connection::Connection;
use super::handler;
use super::request::Request;
use super::worker::Worker;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// So many are kept.
const MOST: usize = 128;

/// Those of a worker that have nothing to do.
#[derive(Default)]
pub(super) struct Handlers {
    free: RefCell<Vec<Handler>>,
}

struct Handler {
    desk: Rc<Desk>,
    /// Never ends: what it has done lies on its desk.
    work: Pin<Box<dyn Future<Output = Infallible>>>,
}

/// What a handler is given, and gives.
#[derive(Default)]
struct Desk {
    task: Cell<Option<Task>>,
    done: Cell<Option<(Answer, Request)>>,
}

struct Task {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request,
}

impl Handlers {
    /// Has a request answered. The request comes back with its answer.
    pub(super) fn handle(
        worker: &Rc<Worker>,
        connection: &Rc<Connection>,
        request: Request,
    ) -> Handling {
        let free = worker.handlers.free.borrow_mut().pop();
        let handler = free.unwrap_or_else(Handler::new);
        handler.desk.task.set(Some(Task {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            request,
        }));
        Handling {
            worker: Rc::clone(worker),
            handler: Some(handler),
        }
    }
}

impl Handler {
    fn new() -> Self {
        let desk = Rc::new(Desk::default());
        let work = Box::pin(work(Rc::clone(&desk)));
        Self { desk, work }
    }
}

async fn work(desk: Rc<Desk>) -> Infallible {
    loop {
        let task = poll_fn(|_| desk.task.take().map_or(Poll::Pending, Poll::Ready)).await;
        let Task {
            worker,
            connection,
            mut request,
        } = task;
        let answer = handler::handle(&worker, &connection, &mut request).await;
        desk.done.set(Some((answer, request)));
    }
}

/// A request that is being answered. Whoever drops it before its end breaks it off.
pub(super) struct Handling {
    worker: Rc<Worker>,
    handler: Option<Handler>,
}

impl Future for Handling {
    type Output = (Answer, Request);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handler) = &mut self.handler else {
            return Poll::Pending;
        };
        match handler.work.as_mut().poll(cx) {
            Poll::Ready(never) => match never {},
            Poll::Pending => {}
        }
        let Some(done) = handler.desk.done.take() else {
            return Poll::Pending;
        };
        let handler = self.handler.take();
        let mut free = self.worker.handlers.free.borrow_mut();
        if free.len() < MOST {
            free.extend(handler);
        }
        Poll::Ready(done)
    }
}
