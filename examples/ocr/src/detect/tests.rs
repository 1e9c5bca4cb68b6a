use super::*;

/// A map as it is drawn: `#` is likely, `+` hardly, anything else not.
fn map(rows: &[&str]) -> Map {
    let likely = |symbol: char| match symbol {
        '#' => 0.9,
        '+' => 0.35,
        _ => 0.0,
    };
    Map {
        width: rows[0].len(),
        height: rows.len(),
        likely: rows
            .iter()
            .flat_map(|row| row.chars().map(likely))
            .collect(),
    }
}

#[test]
fn pixels_that_touch_are_one_place() {
    let cases: [(&str, &[&str], usize); 6] = [
        ("nothing", &["......", "......"], 0),
        ("one", &["..##..", "..##.."], 1),
        ("apart", &["##...##", "##...##"], 2),
        ("a gap of one is closed", &["##.##", "##.##"], 1),
        ("corner to corner", &["#...", "..#.", "...."], 1),
        ("joined below", &["#....#", "#....#", "######"], 1),
    ];
    for (name, rows, count) in cases {
        assert_eq!(places(&map(rows)).len(), count, "{name}");
    }
}

#[test]
fn a_place_becomes_the_corners_of_a_line() {
    let blank = ".".repeat(40);
    let bar = format!("{}{}{}", ".".repeat(8), "#".repeat(20), ".".repeat(12));
    let faint = bar.replace('#', "+");
    let picture = |width: usize, height: usize| Picture {
        width,
        height,
        pixels: vec![0; width * height * COLOURS],
    };
    let rows = |bar: &str, count: usize| {
        let (before, after) = (vec![blank.as_str(); 8], vec![blank.as_str(); 20 - count]);
        map(&[before, vec![bar; count], after].concat())
    };
    let found = |map: &Map, picture: &Picture| {
        let mut places = places(map);
        assert_eq!(places.len(), 1);
        line(map, places.remove(0), picture)
    };
    // 20 by 6 marks are a rectangle of 20 by 6 with the gap that was closed: it grows by 120 * 1.6 / 52.
    let whole = rows(&bar, 6);
    let corners = found(&whole, &picture(80, 28)).unwrap();
    let told = corners.map(|corner| (corner.x, corner.y));
    assert_eq!(told, [(9.0, 4.0), (63.0, 4.0), (63.0, 18.0), (9.0, 18.0)]);
    assert!(
        found(&rows(&bar, 2), &picture(80, 28)).is_none(),
        "too narrow"
    );
    assert!(
        found(&rows(&faint, 6), &picture(80, 28)).is_none(),
        "too faint"
    );
}

#[test]
fn lines_are_told_as_one_reads_them() {
    let at = |x: f64, y: f64| {
        [
            Point { x, y },
            Point { x: x + 9.0, y },
            Point {
                x: x + 9.0,
                y: y + 9.0,
            },
            Point { x, y: y + 9.0 },
        ]
    };
    let found = vec![
        at(50.0, 40.0),
        at(90.0, 3.0),
        at(5.0, 9.0),
        at(40.0, 6.0),
        at(5.0, 42.0),
    ];
    let order: Vec<(f64, f64)> = in_order(found)
        .iter()
        .map(|corners| (corners[0].x, corners[0].y))
        .collect();
    assert_eq!(
        order,
        [
            (5.0, 9.0),
            (40.0, 6.0),
            (90.0, 3.0),
            (5.0, 42.0),
            (50.0, 40.0)
        ]
    );
}
