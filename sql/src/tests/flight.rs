//! Flight SQL with the client of arrow-flight.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow_flight::FlightInfo;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTables, SqlInfo};
use futures::TryStreamExt;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::*;
use crate::FlightServer;

type Client = FlightSqlServiceClient<Channel>;

async fn client(bench: &Bench) -> (FlightServer, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = FlightServer::start(listener, bench.sql.clone()).unwrap();
    let address = format!("http://{}", server.address);
    let channel = Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    (server, FlightSqlServiceClient::new(channel))
}

async fn fetch(client: &mut Client, info: &FlightInfo) -> RecordBatch {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: Vec<_> = client
        .do_get(ticket)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    concat_batches(&schema.into(), &batches).unwrap()
}

#[tokio::test]
async fn statements_give_rows_and_tickets_keep_their_snapshot() {
    let (mut feed, bench) = mixed(70, 2).await;
    let all = feed.ordered();
    let (server, mut client) = client(&bench).await;
    client.handshake("any", "one").await.unwrap();
    let query = "select hlc, writer, symbol, price, n, note from ticks";
    let columns = ["hlc", "writer", "symbol", "price", "n", "note"];
    let info = client.execute(query.into(), None).await.unwrap();
    assert!(fetch(&mut client, &info).await == expected::batch(&all, &columns));
    let mut prepared = client.prepare(query.into(), None).await.unwrap();
    assert_eq!(
        prepared.dataset_schema().unwrap().fields().len(),
        columns.len()
    );
    // rows that come later are not in the ticket, but in the statement
    feed.run(100, 1_500_000).await;
    bench.knows(feed.rows.len()).await;
    assert!(fetch(&mut client, &info).await == expected::batch(&all, &columns));
    let info = prepared.execute().await.unwrap();
    let wanted = expected::batch(&feed.ordered(), &columns);
    assert!(fetch(&mut client, &info).await == wanted);
    prepared.close().await.unwrap();
    server.shutdown().await;
    bench.query.shutdown().await;
}

#[tokio::test]
async fn catalogs_tables_and_abilities_are_told() {
    let (_, bench) = mixed(71, 1).await;
    let (server, mut client) = client(&bench).await;
    let text = |batch: &RecordBatch, column: &str| -> Vec<String> {
        let column = batch.column_by_name(column).unwrap().as_string::<i32>();
        column
            .iter()
            .map(|value| value.unwrap().to_owned())
            .collect()
    };
    let info = client.get_catalogs().await.unwrap();
    let batch = fetch(&mut client, &info).await;
    assert_eq!(text(&batch, "catalog_name"), ["tourbillon"]);
    let info = client
        .get_db_schemas(CommandGetDbSchemas::default())
        .await
        .unwrap();
    let batch = fetch(&mut client, &info).await;
    assert_eq!(text(&batch, "db_schema_name"), ["public"]);
    let tables = |pattern: &str| CommandGetTables {
        table_name_filter_pattern: Some(pattern.into()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = client.get_tables(tables("ti%")).await.unwrap();
    assert_eq!(
        text(&fetch(&mut client, &info).await, "table_name"),
        ["ticks"]
    );
    let info = client.get_tables(tables("x%")).await.unwrap();
    assert_eq!(fetch(&mut client, &info).await.num_rows(), 0);
    let info = client.get_table_types().await.unwrap();
    assert_eq!(
        text(&fetch(&mut client, &info).await, "table_type"),
        ["TABLE"]
    );
    let readonly = vec![SqlInfo::FlightSqlServerReadOnly];
    let info = client.get_sql_info(readonly).await.unwrap();
    assert_eq!(fetch(&mut client, &info).await.num_rows(), 1);
    let all = CommandGetSqlInfo::default();
    assert!(all.info.is_empty());
    let info = client.get_xdbc_type_info(Default::default()).await.unwrap();
    assert_eq!(fetch(&mut client, &info).await.num_rows(), 7);
    let keys = arrow_flight::sql::CommandGetPrimaryKeys {
        table: "ticks".into(),
        ..Default::default()
    };
    let info = client.get_primary_keys(keys).await.unwrap();
    assert_eq!(
        text(&fetch(&mut client, &info).await, "column_name"),
        ["hlc", "writer"]
    );
    server.shutdown().await;
    bench.query.shutdown().await;
}

#[tokio::test]
async fn what_is_not_taken_is_told() {
    let (_, bench) = mixed(72, 1).await;
    let (server, mut client) = client(&bench).await;
    for (query, told) in [
        ("select nope from ticks", "nope"),
        ("drop table ticks", "DROP is not taken"),
        ("select $1", "parameters"),
    ] {
        let refused = client
            .execute(query.into(), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(told), "{refused}");
        let refused = client
            .prepare(query.into(), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(told), "{refused}");
    }
    let refused = client
        .execute_update("delete from ticks".into(), None)
        .await;
    assert!(refused.unwrap_err().to_string().contains("not taken"));
    let transaction = client.begin_transaction().await;
    assert!(transaction.is_err());
    server.shutdown().await;
    bench.query.shutdown().await;
}
