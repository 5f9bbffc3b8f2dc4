//! Memory of a worker that is used again and again: rooms to read into, lent only while there is something to read, buffers
//! for heads that are written, and memory for heads that were read. A connection on which nothing is said has none of it.

use super::request::{Head, HeadMemory};
use super::socket::Socket;
use bytes::{BufMut, BytesMut};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio_util::io::poll_read_buf;

/// Room for a piece of a message: what services like to send at once, and a head.
const ROOM: usize = 68 * 1024;
/// With less than this left, a room is made larger.
const LITTLE: usize = 4 * 1024;
/// Of each kind so many are kept,
const MOST: usize = 64;
/// and so many rooms that are not free yet,
const MOST_SHARED: usize = 32;
/// but no buffer that has grown beyond this,
const LARGEST_BUFFER: usize = 16 * 1024;
/// and no room that has grown beyond this, for a large head.
const LARGEST_ROOM: usize = 4 * ROOM;

/// So many rooms that were not free are looked at when one is needed,
const LOOKS: usize = 2;
/// and each so often: what is none, or never comes free, is let go.
const MOST_LOOKS: u8 = 16;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Spare {
    rooms: RefCell<Vec<BytesMut>>,
    /// Rooms of which others still had a part when they were given back, and how often they still had it later.
    shared: RefCell<VecDeque<(BytesMut, u8)>>,
    buffers: RefCell<Vec<Vec<u8>>>,
    heads: RefCell<Vec<HeadMemory>>,
}

impl Spare {
    /// Reads behind what is in `buffer`, in a room that takes its place.
    pub(super) fn poll_read(
        &self,
        socket: &mut Socket,
        buffer: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Nothing is lent for the question whether anything is there.
        ready!(socket.poll_readable(cx))?;
        let mut room = self.room();
        if !buffer.is_empty() {
            room.extend_from_slice(buffer);
            if room.capacity() - room.len() < LITTLE {
                room.reserve(ROOM);
            }
        }
        // Never full: one without any capacity left could not be told from one that never was a room.
        let most = room.capacity() - room.len() - 1;
        let read = poll_read_buf(Pin::new(socket), cx, &mut (&mut room).limit(most));
        let unused = if matches!(read, Poll::Ready(Ok(1..))) {
            std::mem::replace(buffer, room)
        } else {
            room
        };
        self.recycle_room(unused);
        read
    }

    fn room(&self) -> BytesMut {
        if let Some(free) = self.rooms.borrow_mut().pop() {
            return free;
        }
        let mut shared = self.shared.borrow_mut();
        for _ in 0..LOOKS.min(shared.len()) {
            let Some((mut room, looks)) = shared.pop_front() else {
                break;
            };
            // By now nobody may have any part of it.
            if room.try_reclaim(ROOM) {
                return room;
            }
            if looks < MOST_LOOKS {
                shared.push_back((room, looks + 1));
            }
        }
        BytesMut::with_capacity(ROOM)
    }

    /// Room that is not needed any more; of use again once nothing of it is under way.
    pub(super) fn recycle_room(&self, mut room: BytesMut) {
        room.clear();
        if room.try_reclaim(ROOM) {
            let mut free = self.rooms.borrow_mut();
            if free.len() < MOST && room.capacity() <= LARGEST_ROOM {
                free.push(room);
            }
        } else if room.capacity() > 0 {
            let mut shared = self.shared.borrow_mut();
            if shared.len() < MOST_SHARED {
                shared.push_back((room, 0));
            }
        }
    }

    /// An empty buffer for a head.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let free = self.buffers.borrow_mut().pop();
        free.unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// A buffer that is free again.
    pub(super) fn recycle_buffer(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.buffers.borrow_mut();
        if free.len() < MOST && buffer.capacity() <= LARGEST_BUFFER {
            free.push(buffer);
        }
    }

    /// Memory for what a caller says.
    pub(super) fn head(&self) -> HeadMemory {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// A head that is not needed any more.
    pub(super) fn recycle_head(&self, head: &mut Head) {
        let mut memory = head.take_memory();
        memory.clear();
        let mut free = self.heads.borrow_mut();
        if free.len() < MOST && memory.size() <= LARGEST_BUFFER {
            free.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_of_which_others_have_a_part_comes_back_once_they_have_not() {
        let spare = Spare::default();
        let mut room = spare.room();
        let place = room.as_ptr();
        room.extend_from_slice(b"a piece");
        let piece = room.split().freeze();
        spare.recycle_room(room);
        // What never was a room takes nobody's place.
        for _ in 0..100 {
            spare.recycle_room(BytesMut::new());
        }
        assert_eq!(spare.shared.borrow().len(), 1);
        assert_ne!(spare.room().as_ptr(), place);
        drop(piece);
        let again = spare.room();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= ROOM);
    }

    #[test]
    fn rooms_that_have_grown_are_not_kept() {
        let spare = Spare::default();
        for (size, kept) in [(LARGEST_ROOM + 1, 0), (LARGEST_ROOM, 1)] {
            spare.recycle_room(BytesMut::with_capacity(size));
            assert_eq!(spare.rooms.borrow().len(), kept);
        }
    }

    #[test]
    fn what_never_comes_free_is_let_go() {
        let spare = Spare::default();
        let mut small = BytesMut::with_capacity(100);
        small.extend_from_slice(b"half a head");
        spare.recycle_room(small);
        for _ in 0..=MOST_LOOKS {
            assert_eq!(spare.shared.borrow().len(), 1);
            drop(spare.room());
        }
        assert!(spare.shared.borrow().is_empty());
    }
}
