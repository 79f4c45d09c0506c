-- Who may see what; written in the same transaction as the users' events, read by every request.

CREATE TABLE workspace_link (
    user_id text COLLATE "C" NOT NULL,
    workspace_id bigint NOT NULL,
    current boolean NOT NULL,
    PRIMARY KEY (user_id, workspace_id)
);

CREATE TABLE api_key (
    prefix text COLLATE "C" PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    secret_sha256 text COLLATE "C" NOT NULL,
    scopes text[] NOT NULL,
    expires_at bigint
);
