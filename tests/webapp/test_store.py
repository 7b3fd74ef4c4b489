from __future__ import annotations

import threading
import time

import pytest

from bgremove.errors import OptionError
from bgremove.webapp.config import ServeParams
from bgremove.webapp.errors import Busy, NotFound, TooLarge
from bgremove.webapp.store import REVISIONS, Kept, Revision, Store, Visitor


def kept(size: int = 1000, name: str = "cat.jpg") -> Kept:
    return Kept(name, bytes(size), 40, 30, "")


def revision(number: int, size: int = 1000) -> Revision:
    return Revision(number, bytes(size), b"", b"", "fast", None, "", 0.1, (40, 30), [])


def long_ago(visitor: Visitor, seconds: float) -> None:
    visitor.seen = time.monotonic() - seconds


def sweep(store: Store) -> None:
    store._swept = -1e9
    store.sweep()


def test_pictures_belong_to_one_visitor() -> None:
    store = Store(ServeParams())
    mine, others = store.new_visitor(), store.new_visitor()
    picture = kept()
    store.add(mine, picture)
    assert store.visitor(mine.key).picture(picture.id) is picture
    with pytest.raises(NotFound):
        others.picture(picture.id)
    with pytest.raises(NotFound):
        store.remove(others, picture.id)
    assert store.pictures == 1


def test_keys_and_ids_cannot_be_guessed() -> None:
    store = Store(ServeParams())
    keys = {store.new_visitor().key for _ in range(50)}
    assert len(keys) == 50 and min(map(len, keys)) >= 32
    assert len({kept().id for _ in range(50)}) == 50
    for wrong in ("", "x", next(iter(keys))[:-1]):
        with pytest.raises(NotFound, match="load the page again"):
            store.visitor(wrong)


def test_clearing_forgets_pictures_and_background() -> None:
    store = Store(ServeParams())
    visitor = store.new_visitor()
    for _ in range(3):
        store.add(visitor, kept())
    store.set_background(visitor, bytes(5000))
    assert store.nbytes > 8000
    store.remove(visitor)
    assert store.pictures == store.nbytes == 0
    store.add(visitor, kept())  # it goes on


def test_too_many_pictures() -> None:
    store = Store(ServeParams(pictures=2))
    visitor = store.new_visitor()
    for _ in range(2):
        store.add(visitor, kept())
    with pytest.raises(TooLarge, match="2 pictures here.*clear some"):
        store.add(visitor, kept())
    store.add(store.new_visitor(), kept())


def test_too_much_for_one_visitor() -> None:
    store = Store(ServeParams(visitor_mb=1))
    visitor = store.new_visitor()
    store.add(visitor, kept(700_000))
    with pytest.raises(TooLarge, match="clear some first"):
        store.add(visitor, kept(400_000))
    with pytest.raises(TooLarge):
        store.set_background(visitor, bytes(400_000))
    assert visitor.background is None and len(visitor.pictures) == 1


def test_room_is_made_only_where_nobody_is() -> None:
    store = Store(ServeParams(store_mb=1))
    active, idle, new = store.new_visitor(), store.new_visitor(), store.new_visitor()
    store.add(active, kept(400_000))
    store.add(idle, kept(400_000))
    with pytest.raises(Busy, match="too many pictures are kept"):
        store.add(new, kept(400_000))
    long_ago(idle, 120)
    store.add(new, kept(400_000))
    assert store.visitor(active.key).pictures and store.visitor(new.key).pictures
    with pytest.raises(NotFound):
        store.visitor(idle.key)


def test_forgotten_after_a_while_but_not_in_work() -> None:
    store = Store(ServeParams(keep_minutes=1))
    old, working, new = (store.new_visitor() for _ in range(3))
    for visitor in (old, working, new):
        store.add(visitor, kept())
    long_ago(old, 70)
    long_ago(working, 70)
    [picture] = working.pictures.values()
    with picture.in_work():
        sweep(store)
        assert store.pictures == 2
    with pytest.raises(NotFound):
        store.visitor(old.key)
    sweep(store)
    assert store.pictures == 1
    assert store.visitor(new.key).pictures


def test_a_request_keeps_a_visitor() -> None:
    store = Store(ServeParams(keep_minutes=1))
    visitor = store.new_visitor()
    long_ago(visitor, 59)
    store.visitor(visitor.key)
    sweep(store)
    assert store.visitor(visitor.key) is visitor


def test_last_revisions_are_kept() -> None:
    picture = kept()
    with pytest.raises(NotFound, match="not cut out yet"):
        picture.revision()
    for _ in range(REVISIONS + 3):
        picture.keep(revision(picture.number()))
    assert list(picture.revisions) == list(range(4, REVISIONS + 4))
    assert picture.revision().number == REVISIONS + 3
    assert picture.revision(4).number == 4
    with pytest.raises(NotFound, match="version 3 .* not kept any more"):
        picture.revision(3)


def test_old_revisions_go_first_when_it_is_too_much() -> None:
    store = Store(ServeParams(visitor_mb=1))
    visitor = store.new_visitor()
    pictures = [kept() for _ in range(2)]
    for picture in pictures:
        store.add(visitor, picture)
        for _ in range(5):
            picture.keep(revision(picture.number(), 150_000))
    store.fit(visitor, pictures[1])
    assert visitor.nbytes < 1e6
    assert all(picture.revision().number == 5 for picture in pictures)


def test_what_does_not_fit_is_not_kept() -> None:
    """Else small files with large mattes would take any amount of memory."""
    store = Store(ServeParams(visitor_mb=1))
    visitor = store.new_visitor()
    pictures = [kept() for _ in range(3)]
    for picture in pictures[:2]:
        store.add(visitor, picture)
        picture.keep(revision(picture.number(), 400_000))
        store.fit(visitor, picture)
    store.add(visitor, pictures[2])
    pictures[2].keep(revision(1, 400_000))
    with pytest.raises(TooLarge, match="all that is kept for one visitor; clear some"):
        store.fit(visitor, pictures[2])
    assert [len(one.revisions) for one in pictures] == [1, 1, 0]
    assert visitor.nbytes < 1e6 and "clear some" in pictures[2].error


def test_what_does_not_fit_beside_others_comes_again() -> None:
    store = Store(ServeParams(visitor_mb=1, store_mb=1))
    pictures = [kept(), kept()]
    for picture in pictures:
        visitor = store.new_visitor()
        store.add(visitor, picture)
        picture.keep(revision(1, 600_000))
    with pytest.raises(Busy, match="try again in a minute"):
        store.fit(visitor, pictures[1])
    assert [len(one.revisions) for one in pictures] == [1, 0] and pictures[1].error == ""


def test_state_of_work_that_fails() -> None:
    picture = kept()
    with pytest.raises(OptionError), picture.in_work():
        assert picture.tickets
        raise OptionError("no such colour")
    assert picture.error == "no such colour" and not picture.tickets
    with pytest.raises(Busy), picture.in_work():
        raise Busy("come again")
    assert picture.error == "no such colour"  # nothing was tried
    with pytest.raises(ZeroDivisionError), picture.in_work():
        print(1 // 0)
    assert picture.error == "something went wrong here"  # the log knows what
    with picture.in_work():
        pass
    assert picture.error == ""


def test_visitors_without_pictures_do_not_pile_up() -> None:
    store = Store(ServeParams())
    first = store.new_visitor()
    store.add(first, kept())
    for _ in range(1500):
        store.new_visitor()
    assert len(store._visitors) == 1000
    assert store.visitor(first.key).pictures


def test_many_at_once() -> None:
    store = Store(ServeParams(store_mb=1, visitor_mb=1))
    errors: list[Exception] = []

    def visit() -> None:
        try:
            visitor = store.new_visitor()
            for _ in range(50):
                picture = kept(2000)
                store.add(visitor, picture)
                with picture.in_work():
                    picture.keep(revision(picture.number(), 2000))
                store.fit(visitor, picture)
                store.remove(visitor, picture.id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not errors
    assert store.pictures == 0
