//! How statements are planned.

use super::*;

#[tokio::test]
async fn a_sort_by_hlc_is_a_merge() {
    let (_, bench) = mixed(20, 3).await;
    for query in [
        "select * from ticks order by hlc",
        "select * from ticks order by hlc, writer",
        "select * from ticks order by hlc desc",
        "select * from ticks order by hlc desc, writer desc limit 5",
        "select hlc, price from ticks where price > 5 order by hlc",
        "select hlc, price from ticks where price > 5 order by hlc desc limit 5",
        "select price from ticks where symbol = 'ETHUSDT' order by hlc desc limit 5",
        "select n + 1 as m, hlc as at from ticks order by at desc",
        "select * from (select hlc as h, n from ticks where lot = 1) order by h desc limit 3",
        "with a as (select * from ticks where n > 5) select n from a order by hlc limit 3",
        "select n, lag(n) over (order by hlc) from ticks order by hlc",
        "select * from ticks limit 10",
        // the projection leaves the column out by which rows are filtered and sorted
        "select n, ts from ticks where price > 5 order by hlc limit 10",
    ] {
        let plan = bench.plan(query).await;
        for operator in ["SortExec", "SortPreservingMergeExec", "RepartitionExec"] {
            assert!(!plan.contains(operator), "{query}:\n{plan}");
        }
        assert!(plan.contains("lanes=1"), "{query}:\n{plan}");
    }
    // what is not the order of the stream is sorted
    for query in [
        "select * from ticks order by n",
        "select * from ticks order by hlc, writer desc",
        "select * from ticks order by writer, hlc",
    ] {
        let plan = bench.plan(query).await;
        assert!(plan.contains("SortExec"), "{query}:\n{plan}");
    }
    bench.query.shutdown().await;
}

#[tokio::test]
async fn limits_go_down_where_all_conditions_are_answered_there() {
    let (_, bench) = mixed(21, 2).await;
    for (query, goes) in [
        ("select n from ticks limit 7", true),
        (
            "select n from ticks where symbol = 'ETHUSDT' and hlc > to_timestamp_nanos(5) limit 7",
            true,
        ),
        ("select n from ticks order by hlc desc limit 7", true),
        ("select n from ticks where price > 5 limit 7", false),
    ] {
        let plan = bench.plan(query).await;
        let scan = plan.lines().find(|line| line.contains("ScanExec")).unwrap();
        assert_eq!(scan.contains("fetch=7"), goes, "{query}:\n{plan}");
    }
    bench.query.shutdown().await;
}

#[tokio::test]
async fn partitions_are_read_side_by_side_only_where_no_order_shows() {
    let (_, bench) = mixed(22, 3).await;
    for (query, lanes) in [
        ("select count(*) from ticks", 3),
        (
            "select symbol, sum(price), max(n) from ticks where price > 5 group by symbol",
            3,
        ),
        ("select distinct symbol from ticks", 3),
        ("select count(*) from (select * from ticks limit 10)", 1),
        ("select sum(ratio) from ticks", 1),
        ("select avg(n) from ticks", 1),
        ("select first_value(n order by hlc) from ticks", 1),
        ("select array_agg(n) from ticks", 1),
    ] {
        let plan = bench.plan(query).await;
        assert!(plan.contains(&format!("lanes={lanes}")), "{query}:\n{plan}");
    }
    bench.query.shutdown().await;
}
