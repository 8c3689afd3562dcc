//! Those who wait without a thread of their own.

use std::{
    sync::Mutex,
    task::{Context, Poll, Wake, Waker},
};

use super::*;

/// Wakes a thread.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait(mut written: Written) -> Result<Receipt, LedgerError> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match Future::poll(
            std::pin::Pin::new(&mut written),
            &mut Context::from_waker(&waker),
        ) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

fn is_pending(written: &mut Written) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    Future::poll(std::pin::Pin::new(written), &mut context).is_pending()
}

/// Leads that nobody has taken up.
type Leads = Arc<Mutex<Vec<Lead>>>;

fn begin(ledger: &Arc<Ledger>, number: u64, urgency: Urgency, leads: &Leads) -> Written {
    let leads = Arc::clone(leads);
    let begun = ledger.begin_request(entry(number), urgency, move |lead| {
        leads.lock().unwrap().push(lead);
    });
    begun.unwrap()
}

fn on_disk(dir: &Path) -> (Arc<Ledger>, Arc<Disk>, Leads) {
    let (ledger, disk) = ledger_on_disk(dir);
    (Arc::new(ledger), disk, Leads::default())
}

/// One lead for all, one flush for all, and no receipt before it.
#[test]
fn tasks_share_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk, leads) = on_disk(dir.path());
    let mut all: Vec<_> = (0..100)
        .map(|number| begin(&ledger, 2 * number, Urgency::Now, &leads))
        .collect();
    assert!(all.iter_mut().all(is_pending));
    assert_eq!(
        (leads.lock().unwrap().len(), Disk::count(&disk.syncs)),
        (1, 0)
    );
    leads.lock().unwrap().pop().unwrap().commit();
    let indexes: BTreeSet<_> = all
        .into_iter()
        .map(|one| wait(one).unwrap().index)
        .collect();
    assert_eq!(indexes, (0..100).collect());
    assert_eq!((Disk::count(&disk.syncs), check(dir.path()).size), (1, 100));
}

/// What can wait goes with what cannot, before it; alone it waits until it is hastened.
#[test]
fn what_can_wait_goes_along() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk, leads) = on_disk(dir.path());
    ledger.append(entry(0)).unwrap();
    let mut end = begin(&ledger, 1, Urgency::Soon, &leads);
    assert!(is_pending(&mut end) && leads.lock().unwrap().is_empty());
    // A thread takes it along.
    let next = ledger.append(entry(2)).unwrap();
    assert_eq!((wait(end).unwrap().index, next.index), (1, 2));
    assert_eq!(Disk::count(&disk.syncs), 2);
    // Nobody comes.
    let mut end = begin(&ledger, 3, Urgency::Soon, &leads);
    assert!(is_pending(&mut end) && leads.lock().unwrap().is_empty());
    ledger.hasten();
    leads.lock().unwrap().pop().unwrap().commit();
    assert_eq!(wait(end).unwrap().index, 3);
    // There is nothing more to hasten, and the lead is free.
    ledger.hasten();
    assert!(leads.lock().unwrap().is_empty());
    ledger.append(entry(4)).unwrap();
    assert_eq!(check(dir.path()).size, 5);
}

/// What could wait is not given the lead for itself by whoever had it.
#[test]
fn what_can_wait_does_not_lead() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk, leads) = on_disk(dir.path());
    thread::scope(|scope| {
        let gate = disk.gate.lock().unwrap();
        scope.spawn(|| ledger.append(entry(0)).unwrap());
        while Disk::count(&disk.syncs) == 0 {
            thread::yield_now();
        }
        drop(begin(&ledger, 1, Urgency::Soon, &leads));
        drop(gate);
    });
    assert!(leads.lock().unwrap().is_empty());
    // It is written though nobody waits for it.
    ledger.append(entry(2)).unwrap();
    assert_eq!(check(dir.path()).size, 3);
}

/// A thread that has committed passes the lead to a task, and a task to a thread.
#[test]
fn the_lead_goes_between_threads_and_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk, leads) = on_disk(dir.path());
    thread::scope(|scope| {
        let gate = disk.gate.lock().unwrap();
        let first = scope.spawn(|| ledger.append(entry(0)));
        while Disk::count(&disk.syncs) == 0 {
            thread::yield_now();
        }
        let task = begin(&ledger, 2, Urgency::Now, &leads);
        assert!(leads.lock().unwrap().is_empty(), "somebody has it");
        drop(gate);
        first.join().unwrap().unwrap();
        let lead = leads.lock().unwrap().pop().unwrap();
        let gate = disk.gate.lock().unwrap();
        let committing = scope.spawn(move || lead.commit());
        while Disk::count(&disk.syncs) == 1 {
            thread::yield_now();
        }
        let second = scope.spawn(|| ledger.append(entry(4)));
        wait_for_queue(&ledger, 1);
        drop(gate);
        committing.join().unwrap();
        second.join().unwrap().unwrap();
        wait(task).unwrap();
    });
    assert_eq!((Disk::count(&disk.syncs), check(dir.path()).size), (3, 3));
}

/// I1: where there is no thread to be had, nothing hangs: tasks fail, and threads go on.
#[test]
fn a_lead_that_is_lost_strands_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _, leads) = on_disk(dir.path());
    let task = begin(&ledger, 0, Urgency::Now, &leads);
    let end = begin(&ledger, 3, Urgency::Soon, &leads);
    thread::scope(|scope| {
        let thread = scope.spawn(|| ledger.append(entry(4)));
        wait_for_queue(&ledger, 3);
        drop(leads.lock().unwrap().pop());
        assert_eq!(thread.join().unwrap().unwrap().index, 0);
    });
    assert!(matches!(wait(task), Err(LedgerError::Abandoned)));
    assert!(matches!(wait(end), Err(LedgerError::Abandoned)));
    // The next is served.
    let task = begin(&ledger, 6, Urgency::Now, &leads);
    leads.lock().unwrap().pop().unwrap().commit();
    assert_eq!(wait(task).unwrap().index, 1);
    assert_eq!(check(dir.path()).size, 2);
}

/// I1: a disk that fails is told to all.
#[test]
fn a_full_disk_fails_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, disk, leads) = on_disk(dir.path());
    disk.room.store(100, Ordering::SeqCst);
    let tasks = [0, 2].map(|number| begin(&ledger, number, Urgency::Now, &leads));
    leads.lock().unwrap().pop().unwrap().commit();
    for task in tasks {
        assert!(matches!(wait(task), Err(LedgerError::Write { .. })));
    }
    disk.room.store(u64::MAX, Ordering::SeqCst);
    ledger.append(entry(0)).unwrap();
    assert_eq!(check(dir.path()).size, 1);
}
