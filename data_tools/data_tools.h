/* The subcommands of rankwise-data, one file each. */
#ifndef RANKWISE_DATA_TOOLS_H
#define RANKWISE_DATA_TOOLS_H

int build_command(int argc, char **argv);
int encode_command(int argc, char **argv);
int decode_command(int argc, char **argv);
int peek_command(int argc, char **argv);
int stats_command(int argc, char **argv);
int audit_command(int argc, char **argv);
int render_command(int argc, char **argv);
int demo_command(int argc, char **argv);
#endif
