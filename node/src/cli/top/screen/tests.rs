//! Screens of every size.

use jiff::Timestamp;
use serde_json::json;

use super::super::world::{News, World};
use super::*;

fn world(jobs: usize) -> World {
    let mut world = World::default();
    let job = |n: usize| {
        let status = ["completed", "failed", "leased", "queued"][n % 4];
        json!({ "id": format!("job_{n}"), "status": status, "title": "echo \u{1b}[31m 漢字",
            "createdAt": format!("2026-01-01T00:00:{:02}.000Z", n % 60) })
    };
    world.take(News::Lists {
        status: json!({ "nodeId": "one", "ready": true, "jobs": { "queued": 3, "leased": 2 } }),
        jobs: (0..jobs).map(job).collect(),
        hosts: vec![json!({ "id": "host_1", "name": "box", "activeLeases": 2, "maxParallel": 4 })],
        services: vec![json!({ "id": "svc_1", "name": "api", "replicas": 2,
            "assignments": [{ "status": "running" }] })],
        gateways: vec!["http://127.0.0.1:8790".to_owned()],
    });
    world
}

fn shown(world: &World, view: &mut View, size: (usize, usize)) -> Vec<Line> {
    lines(world, view, size, Timestamp::UNIX_EPOCH)
}

#[test]
fn no_screen_is_left_however_small_it_is() {
    for jobs in [0, 1, 200] {
        let world = world(jobs);
        for width in [0, 1, 7, 80, 300] {
            for height in 0..60 {
                let mut view = View::default();
                for _ in 0..3 {
                    let lines = shown(&world, &mut view, (width, height));
                    assert!(lines.len() <= height);
                    assert!(lines.iter().all(|line| line.text.width() <= width), "{lines:?}");
                    assert!(lines.iter().all(|line| !line.text.contains(char::is_control)));
                    view.scroll(isize::MAX, &world);
                    view.turn(1);
                }
            }
        }
    }
}

#[test]
fn a_large_screen_shows_all_lists_and_a_small_one_that_in_focus() {
    let world = world(9);
    let has = |lines: &[Line], word: &str| lines.iter().any(|line| line.text.contains(word));
    let mut view = View::default();
    let large = shown(&world, &mut view, (120, 40));
    for word in ["JOBS 9", "HOSTS 1", "SERVICES 1", "job_8", "2/4", "#####.....", "1/2", ":8790"] {
        assert!(has(&large, word), "{word}");
    }
    let small = shown(&world, &mut view, (120, 12));
    assert!(has(&small, "JOBS 9") && !has(&small, "HOSTS 1"));
    view.turn(1);
    let small = shown(&world, &mut view, (120, 12));
    assert!(!has(&small, "JOBS 9") && has(&small, "HOSTS 1"));
}

#[test]
fn the_end_of_a_list_can_be_reached_and_what_lies_beyond_cannot() {
    let world = world(100);
    let mut view = View::default();
    view.scroll(isize::MAX, &world);
    let last = shown(&world, &mut view, (120, 40));
    assert!(last.iter().any(|line| line.text.ends_with("-100")), "{last:?}");
    view.scroll(-1, &world);
    let before = shown(&world, &mut view, (120, 40));
    assert!(before.iter().any(|line| line.text.ends_with("-99")), "{before:?}");
}

#[test]
fn who_is_not_reached_is_said_above_what_was_seen_last() {
    let mut world = world(1);
    world.take(News::Lost("connection refused".to_owned()));
    let lines = shown(&world, &mut View::default(), (120, 40));
    assert!(lines[0].text.contains("reconnecting: connection refused"));
    assert!(lines.iter().any(|line| line.text.contains("job_0")));
}
