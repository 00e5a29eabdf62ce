//! The calls of Flight SQL.

use arrow_flight::error::FlightError;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage,
    SchemaAsIpc, Ticket,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use futures::{TryStreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use crate::catalog::{CATALOG, SCHEMA};
use crate::flight::answer::{
    DoGet, Handshakes, described, info, no_foreign_keys, one, read_only, sent, status, unmade,
};
use crate::flight::{handle, keys, metadata};
use crate::service::SqlService;
use crate::statement::Statement;

/// The only type of table.
const TABLE: &str = "TABLE";

/// Statements over Flight.
#[derive(Debug)]
pub(super) struct FlightSql {
    service: SqlService,
}

impl FlightSql {
    pub(super) fn new(service: SqlService) -> Self {
        Self { service }
    }

    /// Plans a statement: a ticket with the snapshot that it was planned under.
    async fn planned(
        &self,
        statement: Statement,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let head = self.service.describe(statement.clone()).await;
        let head = head.map_err(|error| status(&error))?;
        let snapshot = head.snapshots.to_string();
        let statement = Statement {
            snapshots: head.snapshots,
            ..statement
        };
        let ticket = TicketStatementQuery {
            statement_handle: handle::encode(&statement).into(),
        };
        let info = info(request.into_inner(), &ticket, &head.schema)?;
        Ok(Response::new(info.with_app_metadata(snapshot)))
    }

    async fn run(&self, statement: Statement) -> DoGet<Self> {
        let answer = self.service.run(statement).await;
        let answer = answer.map_err(|error| status(&error))?;
        let batches = answer.batches;
        let batches = batches.map_err(|error| FlightError::Tonic(Box::new(status(&error))));
        Ok(sent::<Self>(answer.schema, batches))
    }

    fn tables(&self, query: CommandGetTables) -> Result<RecordBatch, Status> {
        let mut builder = query.into_builder();
        for (table, schema) in self.service.tables() {
            let appended = builder.append(CATALOG, SCHEMA, &table, TABLE, &schema);
            appended.map_err(Status::from)?;
        }
        builder.build().map_err(Status::from)
    }
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    /// Whoever asks is let in: there are no users.
    async fn do_handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Handshakes>, Status> {
        let answer = HandshakeResponse::default();
        let answers: Handshakes = Box::pin(stream::once(async { Ok(answer) }));
        let mut response = Response::new(answers);
        // drivers that log in expect to be given a token
        let token = tonic::metadata::MetadataValue::from_static("Bearer anonymous");
        response.metadata_mut().insert("authorization", token);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        if query.transaction_id.is_some() {
            return Err(Status::invalid_argument("there are no transactions"));
        }
        let statement = handle::asked(query.query, request.metadata())?;
        self.planned(statement, request).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let statement = handle::decode(&query.prepared_statement_handle)?;
        self.planned(statement, request).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(request, &query, &query.into_builder().schema())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(request, &query, &query.clone().into_builder().schema())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(request, &query, &query.clone().into_builder().schema())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(request, &query, &query.into_builder().schema())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.clone().into_builder(metadata::info()?).schema();
        described(request, &query, &schema)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(
            request,
            &query,
            &query.into_builder(metadata::types()?).schema(),
        )
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(request, &query, &keys::PRIMARY_KEYS)
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(request, &query, &keys::FOREIGN_KEYS)
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(request, &query, &keys::FOREIGN_KEYS)
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        described(request, &query, &keys::FOREIGN_KEYS)
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        self.run(handle::decode(&ticket.statement_handle)?).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        self.run(handle::decode(&query.prepared_statement_handle)?)
            .await
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        let mut builder = query.into_builder();
        builder.append(CATALOG);
        one::<Self>(builder.build())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        let mut builder = query.into_builder();
        builder.append(CATALOG, SCHEMA);
        one::<Self>(builder.build())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        one::<Self>(Ok(self.tables(query)?))
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        let mut builder = query.into_builder();
        builder.append(TABLE);
        one::<Self>(builder.build())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        one::<Self>(query.into_builder(metadata::info()?).build())
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        one::<Self>(query.into_builder(metadata::types()?).build())
    }

    async fn do_get_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        let ours = |name: &Option<String>, own: &str| name.as_ref().is_none_or(|name| name == own);
        let known = ours(&query.catalog, CATALOG)
            && ours(&query.db_schema, SCHEMA)
            && self.service.tables().any(|(table, _)| table == query.table);
        let batch = match known {
            true => keys::primary(&query.table).map_err(unmade)?,
            false => RecordBatch::new_empty(SchemaRef::clone(&keys::PRIMARY_KEYS)),
        };
        one::<Self>(Ok(batch))
    }

    async fn do_get_exported_keys(
        &self,
        _query: CommandGetExportedKeys,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        one::<Self>(Ok(no_foreign_keys()))
    }

    async fn do_get_imported_keys(
        &self,
        _query: CommandGetImportedKeys,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        one::<Self>(Ok(no_foreign_keys()))
    }

    async fn do_get_cross_reference(
        &self,
        _query: CommandGetCrossReference,
        _request: Request<Ticket>,
    ) -> DoGet<Self> {
        one::<Self>(Ok(no_foreign_keys()))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        if query.transaction_id.is_some() {
            return Err(Status::invalid_argument("there are no transactions"));
        }
        let statement = handle::asked(query.query, request.metadata())?;
        let head = self.service.describe(statement.clone()).await;
        let head = head.map_err(|error| status(&error))?;
        let options = IpcWriteOptions::default();
        let schema: Result<IpcMessage, _> = SchemaAsIpc::new(&head.schema, &options).try_into();
        let IpcMessage(dataset_schema) = schema.map_err(unmade)?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle::encode(&statement).into(),
            dataset_schema,
            parameter_schema: Default::default(),
        })
    }

    /// There is nothing to close.
    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        _query: CommandPreparedStatementQuery,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let what = "parameters are not taken: write the values into the statement";
        Err(Status::invalid_argument(what))
    }

    async fn do_put_statement_update(
        &self,
        _ticket: CommandStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only("an update"))
    }

    async fn do_put_prepared_statement_update(
        &self,
        _query: CommandPreparedStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only("an update"))
    }

    async fn do_put_statement_ingest(
        &self,
        _ticket: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only("bulk ingestion"))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
